package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSampleNamesEveryWrongFlag(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "transformer"), 0o755))
	o := sampleOptions{model: dir, size: "7x7", dtype: "fp64", adapter: filepath.Join(dir, "nope"), guidance: 4.5}
	err := o.check()
	for _, text := range []string{"lacks model_index.json, scheduler, tokenizer, text_encoder, vae;", "--size", "--steps 0", "--tokens 0", "--dtype", "--adapter"} {
		require.ErrorContains(t, err, text)
	}
	require.NotContains(t, err.Error(), "--guidance")

	for _, part := range modelParts {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, part), 0o755))
	}
	o = sampleOptions{model: dir, size: "64x64", dtype: "bf16", guidance: 1, steps: 1, tokens: 1}
	require.NoError(t, o.check())
	o.model = filepath.Join(dir, "nope")
	require.ErrorContains(t, o.check(), "there is no such folder")
}

func TestTheArgumentIsAJob(t *testing.T) {
	command := trainCommand()
	require.NoError(t, jobArgument(command, []string{"job.yaml"}))
	require.ErrorContains(t, jobArgument(command, nil), "one JOB, the path of an AI-Toolkit job")
	require.Equal(t, exitUsage, run([]string{"train"}))
}
