package simpletuner

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// evalEntry is an eval dataset of the demo's pictures.
func evalEntry(changes ...string) map[string]any {
	entry := map[string]any{"dataset_type": "eval", "instance_data_dir": "demo", "resolution": 256}
	for i := 0; i < len(changes); i += 2 {
		entry[changes[i]] = changes[i+1]
	}
	return entry
}

func TestEvalDatasetsAreEvaluated(t *testing.T) {
	roots := makeRoots(t)
	got, err := several(t, roots, map[string]string{"eval_steps_interval": "10"}, map[string]any{}, evalEntry(), evalEntry("id", "second", "caption_strategy", "filename"))
	require.NoError(t, err)
	require.Len(t, got.Job.Datasets, 1, "they are never trained on")
	e := got.Job.Evaluation
	require.NotNil(t, e)
	require.Len(t, e.Datasets, 2)
	require.Equal(t, []any{"d1", 256.0, "second", job.CaptionsFilename}, []any{e.Datasets[0].ID, e.Datasets[0].Resolution, e.Datasets[1].ID, e.Datasets[1].Captions})
	datasets := e.Datasets
	e.Datasets = nil
	require.Equal(t, &job.Evaluation{Every: 10, Timesteps: 28, Pictures: 4}, e)
	require.Equal(t, got.Job.Datasets[0].Folder, datasets[0].Folder)
	require.Contains(t, strings.Join(got.Warnings, "\n"), "dataset d1 has the pictures of dataset d0, which are trained on")

	got, err = several(t, roots, map[string]string{"eval_epoch_interval": "0.5", "eval_timesteps": "5", "num_eval_images": "0", "eval_dataset_pooling": "true",
		"eval_dataset_id": "second"}, map[string]any{}, evalEntry(), evalEntry("id", "second"))
	require.NoError(t, err)
	e = got.Job.Evaluation
	require.Len(t, e.Datasets, 1)
	require.Equal(t, "second", e.Datasets[0].ID)
	e.Datasets = nil
	require.Equal(t, &job.Evaluation{EveryEpochs: 0.5, Timesteps: 5, Pooled: true}, e)
}

func TestRemarksAboutEvaluations(t *testing.T) {
	roots := makeRoots(t)
	trained := evalEntry()
	trained["repeats"], trained["start_step"], trained["start_epoch"] = 3, 5, 1
	tests := []struct {
		name    string
		options map[string]string
		entry   map[string]any
		want    string
	}{
		{"no interval", nil, evalEntry(), "dataset d1: its loss is computed only with eval_steps_interval or eval_epoch_interval"},
		{"an interval of 0", map[string]string{"eval_steps_interval": "0"}, evalEntry(), "dataset d1: its loss is computed only with"},
		{"no dataset", map[string]string{"eval_epoch_interval": "1"}, map[string]any{}, "--eval_epoch_interval has no effect: the dataloader has no entry of dataset_type eval"},
		{"off", map[string]string{"eval_steps_interval": "5", "eval_loss_disable": "true"}, evalEntry(), "--eval_loss_disable: the losses of eval datasets are not computed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := several(t, roots, test.options, map[string]any{}, test.entry)
			require.NoError(t, err)
			require.Nil(t, got.Job.Evaluation)
			require.Contains(t, strings.Join(append(got.Warnings, got.Notices...), "\n"), test.want)
		})
	}
	got, err := several(t, roots, map[string]string{"eval_steps_interval": "5"}, map[string]any{}, trained)
	require.NoError(t, err)
	text := strings.Join(got.Warnings, "\n")
	require.Contains(t, text, "dataset d1: repeats means nothing in an entry of type eval")
	require.Contains(t, text, "dataset d1: start_step means nothing in an entry of type eval")
	require.NotContains(t, text, "start_epoch")
	require.Equal(t, 1, got.Job.Evaluation.Datasets[0].Repeats)
	require.Zero(t, got.Job.Evaluation.Datasets[0].StartStep)
}

func TestProblemsOfEvaluations(t *testing.T) {
	roots := makeRoots(t)
	tests := []struct {
		options map[string]string
		entry   map[string]any
		want    string
	}{
		{map[string]string{"eval_dataset_id": "other"}, evalEntry(), `--eval_dataset_id: "other" is not the id of an entry of dataset_type eval`},
		{map[string]string{"eval_timesteps": "1001"}, evalEntry(), "--eval_timesteps: "},
		{map[string]string{"num_eval_images": "-1"}, evalEntry(), "--num_eval_images: "},
		{nil, evalEntry("instance_data_dir", "absent"), "dataset d1: instance_data_dir: "},
		{nil, evalEntry("crop_style", "face"), "dataset d1: crop_style: "},
		{map[string]string{"eval_dataset_pooling": "true"}, evalEntry("id", "pooled"), "dataset pooled: id: "},
		{nil, evalEntry("id", "d0"), `"d0" is the name of another dataset`},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			_, err := several(t, roots, merged(test.options, "eval_steps_interval", "5"), map[string]any{}, test.entry)
			require.ErrorContains(t, err, test.want)
		})
	}
	_, err := several(t, roots, map[string]string{"eval_steps_interval": "5"}, evalEntry())
	require.ErrorContains(t, err, "names no dataset to train on")
}
