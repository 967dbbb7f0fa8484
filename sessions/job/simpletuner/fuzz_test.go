package simpletuner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// Whatever is sent, the answer is a job or a list of problems, each with a field.
func FuzzTranslate(f *testing.F) {
	f.Add(environment, `[{"id": "a", "instance_data_dir": "."}]`)
	f.Add(`{"--seed": {"a": [1]}, "lr_scheduler": 3, "webhook_config": [[1]], "report_to": [1]}`, `[{"id": 3}, null, [], {"id": "x", "resolution": "1e999"}]`)
	f.Add(`{"user_prompt_library": {"a": {"prompt": 1}}, "optimizer_config": "=,betas=--,eps=", "validation_resolution": "1x,99999999x1,-5,0.0000001"}`, `{}`)
	f.Add(kontext, `[{"id": "x", "dataset_type": "text_embeds", "caption_filter_list": {"a": 1}, "default": true}, {"id": "y", "crop": true, "crop_aspect": "random", "crop_aspect_buckets": [null]}]`)
	f.Fuzz(func(t *testing.T, options, dataloader string) {
		dir := t.TempDir()
		path := filepath.Join(dir, "loader.json")
		require.NoError(t, os.WriteFile(path, []byte(dataloader), 0o600))
		var document map[string]any
		if decode([]byte(options), &document) != nil {
			return
		}
		request := Request{Options: Fold(document).Merge(Options{"data_backend_config": path}), Roots: Roots{Models: dir, Datasets: dir, Outputs: dir, Configs: dir}}
		got, err := Translate(request)
		if err == nil {
			require.NoError(t, got.Job.Check())
			return
		}
		var invalid *job.Invalid
		require.ErrorAs(t, err, &invalid)
		for _, problem := range invalid.Problems {
			require.NotEmpty(t, problem.Field)
			require.NotEmpty(t, problem.Message)
		}
	})
}
