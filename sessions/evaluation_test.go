package sessions

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
	"github.com/stepd/stepd/sessions/worker"
)

// evaluatedJob evaluates the pictures that it trains on, every 8 steps.
func evaluatedJob(t *testing.T, dir string) *job.Job {
	j := fixture.Job(t, dir)
	own := j.Datasets[0]
	own.ID = "held out"
	j.Evaluation = &job.Evaluation{Datasets: []job.Dataset{own}, Every: 8, Timesteps: 4, Pooled: true}
	return j
}

func TestEvaluationsAreEvents(t *testing.T) {
	for name, launcher := range map[string]func(testing.TB) worker.Launcher{"process": childWorker, "goroutine": localWorker} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, Options{Launcher: launcher(t)})
			s := create(t, m, CreateRequest{Job: evaluatedJob(t, dir), Grant: 20})
			snapshot := waitState(t, s, Completed)
			found := decodeAll[EvaluationEvent](t, kinds(checkEvents(t, s), KindEvaluation))
			require.Len(t, found, 3)
			for i, step := range []int64{8, 16, 20} {
				e := found[i]
				assert.Equal(t, step, e.Step)
				assert.Equal(t, 1, e.Attempt)
				require.Len(t, e.Losses, 1)
				assert.Equal(t, 5, e.Losses[0].Pictures)
				require.NotNil(t, e.Pooled)
				assert.Equal(t, map[string]float64{"loss/val/held out": e.Losses[0].Loss, "loss/val/pooled": *e.Pooled}, e.Named())
			}
			assert.NotEqual(t, found[0].Losses[0].Loss, found[1].Losses[0].Loss)
			assert.Equal(t, &found[2], snapshot.LastEvaluation)
		})
	}
}

func TestAnEvaluationOutOfMemoryIsSkipped(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	s := create(t, m, CreateRequest{Job: fixture.Faults(evaluatedJob(t, dir), fake.Faults{EvalCode: engine.OutOfMemory}), Grant: 20})
	snapshot := waitState(t, s, Completed)
	failures := decodeAll[MessageEvent](t, kinds(checkEvents(t, s), KindEvaluationFailed))
	require.Len(t, failures, 3)
	assert.Equal(t, "out_of_memory", failures[0].Code)
	assert.Nil(t, snapshot.LastEvaluation)
	assert.FileExists(t, filepath.Join(snapshot.RunDir, "run.safetensors"))
}

// A worker that is killed after its checkpoint leaves the losses before it in there.
func TestEvaluationsOfALostWorkerAreTold(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	s := create(t, m, CreateRequest{Job: evaluatedJob(t, dir), Grant: 12})
	waitState(t, s, Paused)
	lost := run.Steps{Session: s.Key(), Attempt: 2, Steps: steps(15, 16, 17)}
	lost.Steps[1].Evaluation = &run.Evaluation{Step: 16, Losses: []run.DatasetLoss{{Dataset: "held out", Loss: 0.5, Pictures: 5}}}
	tests := []struct {
		name     string
		snapshot Snapshot
		want     int
	}{
		{"nothing was told", Snapshot{}, 1},
		{"the step was told", Snapshot{LastStep: &StepEvent{Attempt: 2, Step: 16}, LastEvaluation: &EvaluationEvent{Attempt: 2, Step: 8}}, 1},
		{"all was told", Snapshot{LastStep: &StepEvent{Attempt: 2, Step: 17}, LastEvaluation: &EvaluationEvent{Attempt: 2, Step: 16}}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newActor(s, test.snapshot, nil)
			a.takeOver(lost)
			a.takeOver(lost) // and never twice
			count := 0
			for _, e := range a.change.update.Events {
				if e.Kind == string(KindEvaluation) {
					count++
					assert.Equal(t, EvaluationEvent{Attempt: 2, Step: 16, Losses: lost.Steps[1].Evaluation.Losses, Recovered: true},
						decode[EvaluationEvent](t, Event{Data: e.Data}))
				}
			}
			assert.Equal(t, test.want, count)
		})
	}
}
