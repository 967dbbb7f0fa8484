package aitoolkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/paths"
)

func TestCheckFolders(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	tests := []struct {
		name, model, pictures string
		fields                []string
	}{
		{"both there", dir, dir, nil},
		{"a Hub name as the model", "black-forest-labs/FLUX.1-dev", dir, []string{"config.process[0].model.name_or_path"}},
		{"a file as the model", file, dir, []string{"config.process[0].model.name_or_path"}},
		{"a file of captions", dir, file, nil},
		{"nothing there", "/nonexistent", "/nonexistent", []string{"config.process[0].model.name_or_path", "config.process[0].datasets[].folder_path"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := &job.Job{Datasets: []job.Dataset{{Folder: test.pictures}, {Folder: test.pictures}}}
			j.Engine.Model = test.model
			err := CheckFolders(j)
			if test.fields == nil {
				require.NoError(t, err)
				return
			}
			var invalid *job.Invalid
			require.ErrorAs(t, err, &invalid)
			require.Len(t, invalid.Problems, len(test.fields))
			for i, field := range test.fields {
				require.Equal(t, field, invalid.Problems[i].Field)
			}
		})
	}
}

func TestWriteConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	written := document(t, map[string]any{"trigger_word": "yes", "save.dtype": "007"})
	require.NoError(t, WriteConfig(dir, written))
	require.NoFileExists(t, filepath.Join(dir, "config.yaml.tmp"))
	read, err := ReadFile(filepath.Join(dir, "config.yaml"))
	require.NoError(t, err)
	first, err := Translate(document(t, map[string]any{"trigger_word": "yes"}), nil, roots)
	require.NoError(t, err)
	process := read["config"].(map[string]any)["process"].([]any)[0].(map[string]any)
	require.Equal(t, map[string]any{"dtype": "007"}, process["save"], "a string stays a string")
	delete(process, "save")
	second, err := Translate(read, nil, roots)
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func TestWrongKindsOfSections(t *testing.T) {
	for field, value := range map[string]any{"train": "fast", "model": []any{1}, "save": 3, "sample": true, "network": "lora"} {
		_, err := Translate(document(t, map[string]any{field: value}), nil, roots)
		require.ErrorContains(t, err, "config.process[0]."+field+": ")
		require.ErrorContains(t, err, "is not an object")
	}
	_, err := Translate(document(t, map[string]any{"training_folder": "a\x00b"}), nil, roots)
	require.ErrorContains(t, err, "config.process[0].training_folder: ")
	require.ErrorContains(t, err, "NUL")
}

func TestPathsOutsideTheLimitAreRefused(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"models", "data", "out"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	limit, err := paths.New([]string{dir})
	require.NoError(t, err)
	inside := Roots{Models: filepath.Join(dir, "models"), Datasets: filepath.Join(dir, "data"), Outputs: filepath.Join(dir, "out"), Limit: limit}
	relative := map[string]any{"datasets": []any{map[string]any{"folder_path": "pictures", "resolution": 512}}}
	_, err = Translate(document(t, relative), nil, inside)
	require.NoError(t, err)
	_, err = Translate(document(t, map[string]any{"datasets": []any{map[string]any{"folder_path": "/etc", "resolution": 512}}, "training_folder": "/var/tmp",
		"model.name_or_path": "/usr"}), nil, inside)
	var invalid *job.Invalid
	require.ErrorAs(t, err, &invalid)
	var fields []string
	for _, p := range invalid.Problems {
		fields = append(fields, p.Field)
		assert.Contains(t, p.Message, "--root")
	}
	assert.Equal(t, []string{processField + ".training_folder", processField + ".model.name_or_path", processField + ".datasets[0].folder_path"}, fields)
}
