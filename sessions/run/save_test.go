package run

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// stopAt ends a run at a step, so that the next one starts there.
func stopAt(t *testing.T, j *job.Job, step int64) {
	t.Helper()
	r, control := &recorder{}, NewControl()
	control.Allow(j.Steps)
	r.onStep = func(done int64) {
		if done == step {
			control.Stop()
		}
	}
	outcome, err := runJob(t, j, control, r)
	require.NoError(t, err)
	require.Equal(t, Stopped, outcome)
}

func TestACheckpointIsKeptForAMoreImportantReason(t *testing.T) {
	t.Run("budget", func(t *testing.T) {
		j := fixture.Job(t, t.TempDir())
		j.Save.Keep = 1
		stopAt(t, j, 5)
		r, control := &recorder{}, NewControl()
		r.grantAtPause(control, []int64{5}, control.Stop)
		_, err := runJob(t, j, control, r)
		require.NoError(t, err)
		steps, reasons := r.saved()
		assert.Equal(t, []int64{5, 10}, steps)
		assert.Equal(t, []string{"budget", "budget"}, reasons)
		m, err := checkpoint.Verify(r.checkpoints[1].Path)
		require.NoError(t, err)
		assert.Equal(t, m.Step, m.Budget)
	})
	t.Run("final", func(t *testing.T) {
		j := fixture.Job(t, t.TempDir())
		stopAt(t, j, 10)
		limit := int64(10)
		j.MaxSteps = &limit
		r, outcome, err := whole(t, j)
		require.NoError(t, err)
		assert.Equal(t, Completed, outcome)
		_, reasons := r.saved()
		assert.Equal(t, []string{"final"}, reasons)
		assert.FileExists(t, filepath.Join(j.RunDir(), "run.safetensors"))
	})
	t.Run("by hand", func(t *testing.T) {
		j := fixture.Job(t, t.TempDir())
		r, control := &recorder{}, NewControl()
		control.Allow(5)
		asked := false
		r.onPaused = func(int64) {
			if asked {
				control.Stop()
				return
			}
			asked = true
			control.RequestCheckpoint()
		}
		_, err := runJob(t, j, control, r)
		require.NoError(t, err)
		steps, reasons := r.saved()
		assert.Equal(t, []int64{5, 5}, steps, "it is reported again, for whoever asked waits for it")
		assert.Equal(t, []string{"budget", "budget"}, reasons)
	})
}

func TestAdapterFilesOfSimpleTuner(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Save.Every, j.Engine.EMA = 15, &engine.EMA{Decay: 0.9}
	_, _, err := whole(t, j)
	require.NoError(t, err)
	for _, name := range []string{"checkpoint-15/pytorch_lora_weights.safetensors", "checkpoint-15/ema/pytorch_lora_weights.safetensors",
		"checkpoint-20/pytorch_lora_weights.safetensors", "checkpoint-20/training_state.json", "pytorch_lora_weights.safetensors"} {
		assert.FileExists(t, filepath.Join(j.RunDir(), name))
	}
	published, err := os.Stat(filepath.Join(j.RunDir(), "pytorch_lora_weights.safetensors"))
	require.NoError(t, err)
	averaged, err := os.Stat(filepath.Join(j.RunDir(), "checkpoint-20/ema/pytorch_lora_weights.safetensors"))
	require.NoError(t, err)
	assert.True(t, os.SameFile(published, averaged), "the averaged weights are published")

	data, err := os.ReadFile(filepath.Join(j.RunDir(), "checkpoint-20/training_state.json"))
	require.NoError(t, err)
	var state map[string]any
	require.NoError(t, json.Unmarshal(data, &state))
	assert.Equal(t, 20.0, state["global_step"])
	assert.Equal(t, 14.0, state["epoch"], "40 micro-batches, three an epoch")
	assert.Equal(t, 0.0, state["epoch_step"])
	assert.Equal(t, 0.1, state["learning_rate"])
	assert.Equal(t, map[string]any{"pictures": 1.0}, state["repeats"])
	assert.Greater(t, state["loss"], 0.0)
}

func TestAFullModelOfSimpleTunerIsAPipeline(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Engine.Adapter = nil
	model := j.Engine.Model
	large := make([]byte, linkFrom)
	require.NoError(t, os.WriteFile(filepath.Join(model, "vae", "weights.safetensors"), large, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(model, "model_index.json"), []byte(`{"_class_name":"PixArtSigmaPipeline"}`), 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(model, "transformer"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(model, "transformer", "base.safetensors"), large, 0o644))
	blobs := filepath.Join(t.TempDir(), "blobs")
	require.NoError(t, os.Mkdir(blobs, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(blobs, "abc"), []byte("{}"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(model, "scheduler"), 0o755))
	require.NoError(t, os.Symlink(filepath.Join(blobs, "abc"), filepath.Join(model, "scheduler", "scheduler_config.json")))

	for range 2 { // the second time everything is there already
		_, outcome, err := whole(t, j)
		require.NoError(t, err)
		require.Equal(t, Completed, outcome)
		j.Steps += 5
	}
	pipeline := filepath.Join(j.RunDir(), "pipeline")
	for _, name := range []string{"transformer/diffusion_pytorch_model.safetensors", "transformer/config.json", "model_index.json",
		"vae/weights.safetensors", "tokenizer/spiece.model", "scheduler/scheduler_config.json"} {
		stat, err := os.Lstat(filepath.Join(pipeline, name))
		require.NoError(t, err, name)
		assert.True(t, stat.Mode().IsRegular(), name)
	}
	assert.NoFileExists(t, filepath.Join(pipeline, "transformer", "base.safetensors"))
	same := func(name string) bool {
		a, err := os.Stat(filepath.Join(model, name))
		require.NoError(t, err)
		b, err := os.Stat(filepath.Join(pipeline, name))
		require.NoError(t, err)
		return os.SameFile(a, b)
	}
	assert.True(t, same("vae/weights.safetensors"), "large files are linked")
	assert.False(t, same("model_index.json"), "small files are copied: editing them must not change the model")
	leftovers, err := filepath.Glob(filepath.Join(pipeline, "*", "*.tmp"))
	require.NoError(t, err)
	assert.Empty(t, leftovers)
}

// A model that no pipeline can be made of is refused before the training, not at its last step.
func TestAModelWithALinkInACircleIsRefusedAtOnce(t *testing.T) {
	for name, target := range map[string]string{"up": "..", "itself": "../vae", "by way of another": "../text_encoder", "nowhere": "none"} {
		t.Run(name, func(t *testing.T) {
			j := simpleTuner(t, t.TempDir())
			j.Engine.Adapter = nil
			model := j.Engine.Model
			require.NoError(t, os.Symlink(target, filepath.Join(model, "vae", "link")))
			if name == "by way of another" {
				require.NoError(t, os.Symlink("../vae", filepath.Join(model, "text_encoder", "link")))
			}
			r, _, err := whole(t, j)
			require.ErrorContains(t, err, filepath.Join("vae", "link"))
			require.ErrorContains(t, err, "remove the link")
			assert.Empty(t, r.steps)
			assert.NoDirExists(t, filepath.Join(j.RunDir(), "pipeline"))
		})
	}
}

func TestAPipelineDoesNotHoldTheRunThatLiesInTheModel(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Engine.Adapter = nil
	j.Output = filepath.Join(j.Engine.Model, "runs", "mine")
	_, _, err := whole(t, j)
	require.NoError(t, err)
	pipeline := filepath.Join(j.RunDir(), "pipeline")
	assert.FileExists(t, filepath.Join(pipeline, "tokenizer", "spiece.model"))
	assert.NoDirExists(t, filepath.Join(pipeline, "runs"))
}

func TestAPipelineThatCannotBeWrittenIsAnErrorButTheCheckpointCounts(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Engine.Adapter = nil
	r, control := &recorder{}, NewControl()
	control.Allow(20)
	r.onStep = func(step int64) {
		if step == 20 { // until then the model was whole
			assert.NoError(t, os.Symlink("nowhere", filepath.Join(j.Engine.Model, "scheduler")))
		}
	}
	_, err := runJob(t, j, control, r)
	require.ErrorContains(t, err, "write pipeline of step 20")
	steps, reasons := r.saved()
	assert.Equal(t, []int64{20}, steps)
	assert.Equal(t, []string{"final"}, reasons)
	_, err = checkpoint.Verify(r.checkpoints[0].Path)
	require.NoError(t, err)
}
