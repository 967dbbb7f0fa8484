package simpletuner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/paths"
)

// limited keeps jobs within the folders of makeRoots, except that of configs, and makes a folder outside them with one of
// everything that a job may name.
func limited(t *testing.T) (roots Roots, outside string) {
	t.Helper()
	roots, outside = makeRoots(t), t.TempDir()
	var err error
	roots.Limit, err = paths.New([]string{roots.Models, roots.Datasets, roots.Outputs})
	require.NoError(t, err)
	fixture.Model(t, filepath.Join(outside, "model"))
	require.NoError(t, os.MkdirAll(filepath.Join(outside, "pictures"), 0o755))
	for name, text := range map[string]string{"prompts.json": `{"a": "a cat"}`, "filters.txt": "a", "table.parquet": "", "webhook.json": `{"webhook_type": "raw"}`,
		"lora.safetensors": "", "backend.json": `[{"id": "text", "type": "local", "dataset_type": "text_embeds"}]`} {
		require.NoError(t, os.WriteFile(filepath.Join(outside, name), []byte(text), 0o644))
	}
	for name, target := range map[string]string{filepath.Join(roots.Datasets, "linked"): outside, filepath.Join(roots.Models, "linked"): outside,
		filepath.Join(roots.Outputs, "linked"): outside} {
		require.NoError(t, os.Symlink(target, name))
	}
	return roots, outside
}

// TestPathsOutsideTheLimitAreRefused names a path outside in each option and field that takes one.
func TestPathsOutsideTheLimitAreRefused(t *testing.T) {
	roots, outside := limited(t)
	_, err := translate(t, roots, nil)
	require.NoError(t, err, "what is inside may be used")
	at := func(name string) string { return filepath.Join(outside, name) }
	tests := []struct {
		field   string
		changes map[string]string
		dataset map[string]any // fields of the only dataset
	}{
		{"--pretrained_model_name_or_path", map[string]string{"pretrained_model_name_or_path": at("model")}, nil},
		{"--pretrained_model_name_or_path", map[string]string{"pretrained_model_name_or_path": at("none")}, nil},
		{"--pretrained_model_name_or_path", map[string]string{"pretrained_model_name_or_path": "linked/model"}, nil},
		{"--output_dir", map[string]string{"output_dir": at("run")}, nil},
		{"--output_dir", map[string]string{"output_dir": "linked/run"}, nil},
		{"--data_backend_config", map[string]string{"data_backend_config": at("backend.json")}, nil},
		{"--init_lora", merged(loraOf8, "init_lora", at("lora.safetensors")), nil},
		{"--init_lora", merged(loraOf8, "init_lora", "linked/lora.safetensors"), nil},
		{"--user_prompt_library", map[string]string{"user_prompt_library": at("prompts.json")}, nil},
		{"--webhook_config", map[string]string{"webhook_config": at("webhook.json")}, nil},
		{"dataset it: instance_data_dir", nil, map[string]any{"instance_data_dir": at("pictures")}},
		{"dataset it: instance_data_dir", nil, map[string]any{"instance_data_dir": at("none")}},
		{"dataset it: instance_data_dir", nil, map[string]any{"instance_data_dir": "linked/pictures"}},
		{"dataset it: caption_filter_list", nil, map[string]any{"instance_data_dir": "demo", "caption_filter_list": at("filters.txt")}},
		{"dataset it: parquet.path", nil, map[string]any{"instance_data_dir": "demo", "caption_strategy": "parquet", "metadata_backend": "parquet",
			"parquet": map[string]any{"path": at("table.parquet"), "caption_column": "caption"}}},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.field, test.changes, test.dataset), func(t *testing.T) {
			changes := merged(test.changes, "checkpoints_total_limit", "3")
			if test.dataset != nil {
				entry := map[string]any{"id": "it", "type": "local", "dataset_type": "image", "caption_strategy": "textfile", "resolution": 512, "resolution_type": "pixel"}
				for name, value := range test.dataset {
					entry[name] = value
				}
				text, err := json.Marshal([]any{entry, map[string]any{"id": "text", "type": "local", "dataset_type": "text_embeds", "default": true}})
				require.NoError(t, err)
				writeConfig(t, roots, "limited.json", string(text))
				changes["data_backend_config"] = "limited.json"
			}
			_, err := Translate(Request{Options: changedForm(changes), Roots: roots, CheckOutput: true})
			var invalid *job.Invalid
			require.ErrorAs(t, err, &invalid)
			require.Len(t, invalid.Problems, 1, "%v", err)
			assert.Equal(t, test.field, invalid.Problems[0].Field)
			assert.Contains(t, invalid.Problems[0].Message, "start the server with --root")
		})
	}
	assert.NoDirExists(t, at("run"))
}

func TestFilesOfConfigsNeedNoRoot(t *testing.T) {
	roots, _ := limited(t)
	_, err := translate(t, roots, map[string]string{"data_backend_config": filepath.Join(roots.Configs, "multidatabackend-once.json")})
	assert.NoError(t, err)
}
