package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job/aitoolkit"
)

func TestRootsOfJobs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"root", "models", "other"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	open := serveOptions{data: at("data"), roots: aitoolkit.Roots{Models: at("models")}}
	require.NoError(t, open.complete())
	assert.NoError(t, open.roots.Limit.Check("/etc"), "without --root jobs may name what they like")

	limited := serveOptions{data: at("data"), limit: []string{at("root")}, roots: aitoolkit.Roots{Models: at("models"), Outputs: at("outputs")}}
	require.NoError(t, limited.complete())
	for name, want := range map[string]bool{"root/x": true, "models/x": true, "outputs/run": true, "other": false, "data": false} {
		assert.Equal(t, want, limited.roots.Limit.Check(at(name)) == nil, name)
	}
	assert.Error(t, limited.roots.Limit.Check("pictures"), "the working directory is no root by itself")

	missing := serveOptions{data: at("data"), limit: []string{at("none")}}
	err := missing.complete()
	require.ErrorContains(t, err, "--root")
	var usage *exitError
	require.ErrorAs(t, err, &usage)
	assert.Equal(t, exitUsage, usage.code)
}
