package simpletuner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/script"
)

// translateAllowing is translate on a server that allows commands.
func translateAllowing(t *testing.T, definitions []string, changes map[string]string) (*Translation, error) {
	t.Helper()
	allow, err := script.ParseAllow(definitions, false)
	require.NoError(t, err)
	form := fastPath()
	for name, value := range changes {
		form["--"+name] = []string{value}
	}
	options, _ := FromForm(form)
	return Translate(Request{Options: options, Roots: makeRoots(t), Script: allow.Resolve})
}

func TestScriptsThatTheOperatorAllows(t *testing.T) {
	const line = "/opt/hooks/validate.sh --seed={validation_seed} {local_checkpoint_path} {tracker_run_name} {huggingface_path} {validation_guidance}"
	got, err := translateAllowing(t, []string{"validate=" + line, "notify=/opt/notify.sh {remote_checkpoint_path} {model_family} {model_type} {lora_type} {global_step}"},
		map[string]string{"validation_method": "external-script", "validation_external_script": "validate", "validation_external_background": "true",
			"validation_seed": "7", "validation_guidance": "3.8", "tracker_run_name": "a run", "post_checkpoint_script": line, "post_upload_script": "notify",
			"validation_prompt": "a cat", "validation_step_interval": "10"})
	require.NoError(t, err)
	j := got.Job
	require.Empty(t, j.Sampling.Prompts)
	require.Equal(t, int64(10), j.Sampling.Every)
	require.Equal(t, &job.Script{Background: true, Command: []string{"/opt/hooks/validate.sh", "--seed={validation_seed}", "{local_checkpoint_path}",
		"{tracker_run_name}", "{huggingface_path}", "{validation_guidance}"}}, j.Scripts.Validation)
	require.Equal(t, j.Scripts.Validation.Command, j.Scripts.Checkpoint.Command)
	require.Equal(t, "/opt/notify.sh", j.Scripts.Upload.Command[0])
	for name, want := range map[string]string{"validation_seed": "7", "validation_guidance": "3.8", "tracker_run_name": "a run", "model_family": "pixart_sigma",
		"model_type": "full", "huggingface_path": "", "validation_prompt": "a cat", "validation_num_inference_steps": "30"} {
		require.Equal(t, want, j.Scripts.Values[name], name)
	}
}

func TestScriptsThatAreRefused(t *testing.T) {
	tests := []struct {
		changes map[string]string
		problem string
	}{
		{map[string]string{"post_upload_script": "/opt/other.sh"}, "--post_upload_script: \"/opt/other.sh\" is not a command that this server may start; start the server with --allow-script"},
		{map[string]string{"validation_method": "external-script"}, "--validation_external_script: is missing"},
		{map[string]string{"post_checkpoint_script": "wrong"}, "unknown placeholders: {nonsense}"},
		{map[string]string{"post_checkpoint_script": "seeded", "tracker_run_name": "-rf"}, "would become the option"},
	}
	for _, test := range tests {
		_, err := translateAllowing(t, []string{"wrong=/opt/x {nonsense}", "seeded=/opt/x {tracker_run_name}"}, test.changes)
		require.ErrorContains(t, err, test.problem)
	}
	got, err := translateAllowing(t, nil, map[string]string{"validation_external_script": "/opt/x"})
	require.NoError(t, err)
	require.Nil(t, got.Job.Scripts)
	require.NotEmpty(t, got.Notices)
}

func TestIntervalsAndWeightsOfValidations(t *testing.T) {
	got, err := translateAllowing(t, nil, map[string]string{"validation_prompt": "a cat", "validation_resolution": "512,512x768", "num_validation_images": "3",
		"validation_epoch_interval": "2", "checkpoint_epoch_interval": "3", "checkpointing_rolling_steps": "7", "checkpoints_rolling_total_limit": "2",
		"use_ema": "true", "ema_validation": "comparison", "validation_preview": "true", "validation_preview_steps": "4"})
	require.NoError(t, err)
	j := got.Job
	require.Equal(t, int64(2), j.Sampling.EveryEpochs)
	require.Equal(t, 4, j.Sampling.Preview)
	require.Equal(t, job.SampleBoth, j.Sampling.Weights)
	require.Len(t, j.Sampling.Prompts, 4, "two prompts in two sizes")
	require.Equal(t, 3, j.Sampling.Prompts[3].Count)
	require.Equal(t, "validation", j.Sampling.Prompts[3].Name)
	require.Equal(t, job.Save{Every: 500, EveryEpochs: 3, Keep: 5, Rolling: 7, KeepRolling: 2, DType: "bf16", Style: job.StyleSimpleTuner}, j.Save)
}
