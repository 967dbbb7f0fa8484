package run

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
)

func TestACheckpointTellsTheStepsThatLedToIt(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Save.Every = 8
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	require.Equal(t, Completed, outcome)
	require.Len(t, r.checkpoints, 3)
	var told []engine.StepEvent
	for _, info := range r.checkpoints {
		steps, err := ReadSteps(info.Path)
		require.NoError(t, err)
		for _, step := range steps.Steps {
			assert.Equal(t, 2*step.Step, step.MicroBatch)
			assert.Equal(t, 2*step.Step/3, step.Epoch)
			told = append(told, step.StepEvent)
		}
		assert.Equal(t, info.Manifest.Step, told[len(told)-1].Step)
	}
	assert.Equal(t, r.steps, told, "each step once")

	none, err := ReadSteps(t.TempDir())
	assert.NoError(t, err, "a checkpoint of an older version")
	assert.Empty(t, none.Steps)
	require.NoError(t, os.WriteFile(filepath.Join(r.checkpoints[0].Path, stepsFile), []byte("no JSON"), 0o644))
	_, err = ReadSteps(r.checkpoints[0].Path)
	assert.ErrorContains(t, err, "read steps")
}

func TestRememberedStepsAreBounded(t *testing.T) {
	r := &run{}
	const count = 3*mostSteps + 5
	for step := range int64(count) {
		r.remember(Step{StepEvent: engine.StepEvent{Step: step}})
	}
	assert.LessOrEqual(t, len(r.steps), 2*mostSteps)
	dir := t.TempDir()
	require.NoError(t, r.writeSteps(dir))
	steps, err := ReadSteps(dir)
	require.NoError(t, err)
	require.Len(t, steps.Steps, mostSteps)
	assert.Equal(t, int64(count-1), steps.Steps[mostSteps-1].Step)
	assert.Equal(t, int64(count-mostSteps), steps.Steps[0].Step)
}
