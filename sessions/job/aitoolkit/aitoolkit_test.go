package aitoolkit

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// document is a complete small job; edits are given as dotted paths below the process.
func document(t *testing.T, edits map[string]any) map[string]any {
	t.Helper()
	process := map[string]any{
		"type": "sd_trainer", "training_folder": "output",
		"model":    map[string]any{"name_or_path": "pixart", "arch": "pixart_sigma"},
		"datasets": []any{map[string]any{"folder_path": "cats", "caption_ext": "txt", "resolution": []any{512, 768}}},
		"train":    map[string]any{"steps": 400, "batch_size": 2, "dtype": "bf16", "lr": "1e-4", "optimizer": "adamw"},
	}
	for path, value := range edits {
		values.Put(process, path, value)
	}
	doc := map[string]any{"job": "extension", "config": map[string]any{"name": "run", "process": []any{process}}}
	data, err := json.Marshal(doc) // as it arrives: numbers are float64 or json.Number
	require.NoError(t, err)
	var parsed map[string]any
	require.NoError(t, json.Unmarshal(data, &parsed))
	return parsed
}

var roots = Roots{Models: "/models", Datasets: "/data", Outputs: "/out"}

func TestTranslate(t *testing.T) {
	cap := int64(100)
	j, err := Translate(document(t, map[string]any{"sample.prompts": []any{"a cat in [name] --n dog --w 70 --seed 9 --cfg 2.5"}, "save.dtype": "bf16"}), &cap, roots)
	require.NoError(t, err)
	require.Equal(t, "/models/pixart", j.Engine.Model)
	require.Equal(t, "pixart", j.Engine.Family)
	require.Equal(t, "/out/output/run", j.RunDir())
	require.Equal(t, int64(100), j.End())
	require.Equal(t, 1e-4, j.Engine.Optimizer.LR)
	require.Equal(t, "bf16", j.Engine.DType)
	require.Equal(t, "fp32", j.Engine.WeightDType)
	require.Nil(t, j.Engine.Adapter)
	require.Len(t, j.Datasets, 2)
	require.Equal(t, ".txt", j.Datasets[0].CaptionExtension)
	require.Equal(t, []float64{512, 768}, []float64{j.Datasets[0].Resolution, j.Datasets[1].Resolution})
	require.Equal(t, job.Prompt{Text: "a cat in run", Negative: "dog", Width: 64, Height: 512, Steps: 20, Guidance: 2.5, Seed: 9}, j.Sampling.Prompts[0])
	require.Equal(t, "bf16", j.Save.DType)
	require.Empty(t, j.Warnings)
}

func TestTranslateLora(t *testing.T) {
	j, err := Translate(document(t, map[string]any{"network": map[string]any{"type": "lora", "linear": 16, "linear_alpha": 16, "dropout": 0.1}}), nil, roots)
	require.NoError(t, err)
	require.Equal(t, 16, j.Engine.Adapter.Rank)
	require.Equal(t, 0.1, j.Engine.Adapter.Dropout)
	require.True(t, j.Engine.AccumulateSum)
}

func TestTranslateAverage(t *testing.T) {
	j, err := Translate(document(t, map[string]any{"train.ema_config": map[string]any{"use_ema": true, "ema_decay": 0.99}}), nil, roots)
	require.NoError(t, err)
	require.Equal(t, &engine.EMA{Decay: 0.99, Constant: true}, j.Engine.EMA)
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, path string
		value      any
		field      string
		message    string
	}{
		{"steps of zero", "train.steps", 0, "train.steps", "outside"},
		{"steps with a fraction", "train.steps", 1.5, "train.steps", "whole number"},
		{"steps as a word", "train.steps", "many", "train.steps", "whole number"},
		{"unknown optimizer", "train.optimizer", "sgdx", "train.optimizer", "adamw"},
		{"quantised base", "model.quantize", true, "model.quantize", "not supported"},
		{"other family", "model.arch", "flux", "model.arch", "pixart_sigma"},
		{"no datasets", "datasets", []any{}, "datasets", "at least one"},
		{"dataset without a folder", "datasets", []any{map[string]any{}}, "datasets[0].folder_path", "missing"},
		{"resolution below the least", "datasets", []any{map[string]any{"folder_path": "x", "resolution": 2}}, "datasets[0].resolution", "outside"},
		{"unsupported prompt flag", "sample.prompts", []any{"x --zz 3"}, "sample.prompts[0]", "not supported"},
		{"learning rate not finite", "train.lr", "NaN", "train.lr", "not a number"},
		{"betas", "train.optimizer_params", map[string]any{"betas": []any{1.5, 0.9}}, "betas", "outside"},
		{"other adapter", "network", map[string]any{"type": "lokr"}, "network.type", "lora"},
		{"no output", "training_folder", "", "training_folder", "missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := roots
			if test.path == "training_folder" {
				r.Outputs = ""
			}
			_, err := Translate(document(t, map[string]any{test.path: test.value}), nil, r)
			var invalid *job.Invalid
			require.ErrorAs(t, err, &invalid)
			require.Contains(t, invalid.Problems[0].Field, test.field)
			require.Contains(t, invalid.Problems[0].Message, test.message)
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Translate(document(t, map[string]any{"train.steps": -1, "train.optimizer": "x", "save.dtype": "int3"}), nil, roots)
	var invalid *job.Invalid
	require.ErrorAs(t, err, &invalid)
	require.Len(t, invalid.Problems, 3)
}

func TestNamesThatAreNotFolders(t *testing.T) {
	for _, name := range []any{"", "..", "../x", "a/b", ".hidden", nil, 3, strings.Repeat("x", 300)} {
		doc := document(t, nil)
		doc["config"].(map[string]any)["name"] = name
		_, err := Translate(doc, nil, roots)
		require.ErrorContains(t, err, "config.name", "%v", name)
	}
}

func TestWarnings(t *testing.T) {
	j, err := Translate(document(t, map[string]any{"train.speed": 3, "device": "cuda", "model.qtype": "qfloat8"}), nil, roots)
	require.NoError(t, err)
	require.Len(t, j.Warnings, 3)
	require.Contains(t, strings.Join(j.Warnings, "\n"), "train.speed is not an option that this program knows")
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "job.yaml")
	require.NoError(t, os.WriteFile(path, []byte("job: extension\nconfig:\n  name: ${STEPD_TEST_NAME}\n  process:\n  - {type: sd_trainer, train: {lr: 1e-4}}\n"), 0o600))
	_, err := ReadFile(path)
	require.ErrorContains(t, err, "STEPD_TEST_NAME")
	t.Setenv("STEPD_TEST_NAME", "run")
	doc, err := ReadFile(path)
	require.NoError(t, err)
	require.True(t, IsJob(doc))
	require.Equal(t, "run", doc["config"].(map[string]any)["name"])
	for _, text := range []string{"job: extension\n", "---\njob: extension\n", `{"job": "extension"}`} {
		require.NoError(t, os.WriteFile(path, []byte("\ufeff"+text), 0o600))
		doc, err := ReadFile(path)
		require.NoError(t, err, "with a byte order mark")
		require.Equal(t, map[string]any{"job": "extension"}, doc)
	}
}

// The dataloader file of a SimpleTuner configuration is easily taken for the configuration.
func TestAListIsNoJob(t *testing.T) {
	path := filepath.Join(t.TempDir(), "multidatabackend.json")
	require.NoError(t, os.WriteFile(path, []byte(`[{"id": "pictures"}]`), 0o644))
	_, err := ReadFile(path)
	require.ErrorContains(t, err, path+": it is a list, and a job is an object")
}
