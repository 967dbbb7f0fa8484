package sessions

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/script"
	"github.com/stepd/stepd/sessions/worker"
)

func decodeAll[T any](t *testing.T, events []Event) (decoded []T) {
	t.Helper()
	for _, e := range events {
		var value T
		require.NoError(t, json.Unmarshal(e.Data, &value))
		decoded = append(decoded, value)
	}
	return decoded
}

func TestValidationsAreEvents(t *testing.T) {
	for name, launcher := range map[string]func(testing.TB) worker.Launcher{"process": childWorker, "goroutine": localWorker} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, Options{Launcher: launcher(t)})
			j := fixture.Job(t, dir)
			j.Save.Style = job.StyleSimpleTuner
			j.Sampling = job.Sampling{Every: 20, Preview: 4, Prompts: []job.Prompt{
				{Text: "night bench", Name: "validation", Width: 64, Height: 32, Steps: 20, Guidance: 3, Seed: 5}}}
			j.Scripts = &job.Scripts{Checkpoint: &job.Script{Command: []string{"sh", "-c", "echo saved; exit 3"}}}
			s := create(t, m, CreateRequest{Job: j, Grant: 20})
			waitState(t, s, Completed)
			events := checkEvents(t, s)
			var steps []int
			for _, p := range decodeAll[PreviewEvent](t, kinds(events, KindPreview)) {
				steps = append(steps, p.SamplingStep)
				assert.FileExists(t, p.Path)
				p.SamplingStep, p.Timestep, p.Path = 0, 0, ""
				assert.Equal(t, PreviewEvent{Step: 20, SamplingSteps: 20, Prompt: "night bench", Name: "validation", Width: 64, Height: 32}, p)
			}
			assert.Equal(t, []int{1, 5, 9, 13, 17, 20}, steps)
			samples := decodeAll[SampleEvent](t, kinds(events, KindSample))
			require.Len(t, samples, 1)
			assert.Equal(t, "validation", samples[0].Name)
			scripts := decodeAll[ScriptEvent](t, kinds(events, KindScript))
			require.Len(t, scripts, 1)
			assert.Equal(t, []any{"checkpoint", int64(20), 3, "saved"}, []any{scripts[0].Script, scripts[0].Step, scripts[0].ExitCode, scripts[0].Output})
			checkpoints := decodeAll[Checkpoint](t, kinds(events, KindCheckpoint))
			require.Len(t, checkpoints, 1)
			assert.Equal(t, j.RunDir()+"/pytorch_lora_weights.safetensors", checkpoints[0].Final)
		})
	}
}

func TestAValidationOutOfMemoryIsSkipped(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Faults(fixture.Job(t, dir), fake.Faults{SampleCode: engine.DeviceOOM})
	j.Sampling.Every = 8
	s := create(t, m, CreateRequest{Job: j, Grant: 20})
	waitState(t, s, Completed)
	failures := decodeAll[MessageEvent](t, kinds(checkEvents(t, s), KindSampleFailed))
	require.Len(t, failures, 2)
	assert.Equal(t, "device_oom", failures[0].Code)
}

func TestScriptsThatAreNotAllowedAnyMoreDoNotRun(t *testing.T) {
	dir := t.TempDir()
	allow, err := script.ParseAllow([]string{"note=sh -c 'echo noted'"}, false)
	require.NoError(t, err)
	m := open(t, dir, Options{Scripts: allow})
	j := fixture.Job(t, dir)
	j.Scripts = &job.Scripts{Checkpoint: &job.Script{Command: []string{"sh", "-c", "echo noted"}}, Upload: &job.Script{Command: []string{"sh", "-c", "echo other"}}}
	s := create(t, m, CreateRequest{Job: j, Grant: 20})
	snapshot := waitState(t, s, Completed)
	scripts := decodeAll[ScriptEvent](t, kinds(checkEvents(t, s), KindScript))
	require.Len(t, scripts, 1)
	assert.Equal(t, "noted", scripts[0].Output)
	require.Len(t, snapshot.Warnings, 1)
	assert.Contains(t, snapshot.Warnings[0], "--allow-script")
}
