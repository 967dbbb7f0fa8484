package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

// evaluatedJob is a job of 20 steps, 3 micro-batches an epoch, with two datasets to evaluate every 6 steps.
func evaluatedJob(t *testing.T, dir string) *job.Job {
	t.Helper()
	j := fixture.Job(t, dir)
	own := filepath.Join(dir, "own")
	require.NoError(t, os.MkdirAll(own, 0o755))
	for i := range 3 {
		data, err := os.ReadFile(filepath.Join(dir, "pictures", fmt.Sprintf("%d.png", i)))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(own, fmt.Sprintf("%d.png", i)), append(data, byte(i)), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(own, fmt.Sprintf("%d.txt", i)), []byte("another square"), 0o644))
	}
	same := j.Datasets[0]
	same.ID, same.Repeats, same.FlipX = "same", 3, true
	other := job.Dataset{ID: "other", Folder: own, Resolution: 64, Repeats: 1, BucketStep: 16}
	j.Evaluation = &job.Evaluation{Datasets: []job.Dataset{same, other}, Every: 6, Timesteps: 4, Pooled: true}
	return j
}

func evaluatedSteps(r *recorder) (steps []int64) {
	for _, e := range r.evaluations {
		steps = append(steps, e.Step)
	}
	return steps
}

// timeless are the evaluations by step, without the time they took.
func timeless(list ...[]Evaluation) map[int64]Evaluation {
	all := map[int64]Evaluation{}
	for _, some := range list {
		for _, e := range some {
			e.Seconds = 0
			all[e.Step] = e
		}
	}
	return all
}

func TestEvaluationComesAtIntervalsAndAtTheEnd(t *testing.T) {
	tests := []struct {
		name   string
		change func(e *job.Evaluation)
		want   []int64
	}{
		{"steps", func(*job.Evaluation) {}, []int64{6, 12, 18, 20}},
		{"steps that end with the run", func(e *job.Evaluation) { e.Every = 10 }, []int64{10, 20}},
		{"never", func(e *job.Evaluation) { e.Every = 0 }, nil},
		// A step is two micro-batches, an epoch is three.
		{"epochs", func(e *job.Evaluation) { e.Every, e.EveryEpochs = 0, 4 }, []int64{6, 12, 18, 20}},
		{"parts of epochs", func(e *job.Evaluation) { e.Every, e.EveryEpochs = 0, 2.5 }, []int64{4, 8, 12, 15, 19, 20}},
		{"both", func(e *job.Evaluation) { e.Every, e.EveryEpochs = 9, 10 }, []int64{9, 15, 18, 20}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := evaluatedJob(t, t.TempDir())
			test.change(j.Evaluation)
			r, outcome, err := whole(t, j)
			require.NoError(t, err)
			assert.Equal(t, Completed, outcome)
			assert.Equal(t, test.want, evaluatedSteps(r))
		})
	}
}

func TestSharesOfEpochs(t *testing.T) {
	ready := Ready{Epochs: dataset.Epochs{{Batches: 3}}, Accumulation: 2}
	for step := range int64(10) {
		assert.Equal(t, step+1, ready.nextShare(step, 0.1), "below a step")
	}
	assert.Equal(t, never, ready.nextShare(0, 0))
	// Two epochs of 4 micro-batches, then longer ones.
	ready = Ready{Epochs: dataset.Epochs{{Batches: 4}, {Epoch: 2, Batch: 8, Batches: 10}}, Accumulation: 1}
	var steps []int64
	for step := int64(0); len(steps) < 6; steps = append(steps, step) {
		step = ready.nextShare(step, 0.5)
		assert.True(t, ready.endsShare(step, 0.5))
	}
	assert.Equal(t, []int64{2, 4, 6, 8, 13, 18}, steps)
	assert.False(t, ready.endsShare(12, 0.5))
	resumed := Ready{Step: 5, FirstBatch: 5, Epochs: ready.Epochs, Accumulation: 1}
	assert.Equal(t, int64(6), resumed.nextShare(5, 0.5))
}

func TestEvaluationDoesNotChangeTheTraining(t *testing.T) {
	with, without := evaluatedJob(t, t.TempDir()), fixture.Job(t, t.TempDir())
	evaluatedRun, _, err := whole(t, with)
	require.NoError(t, err)
	require.Len(t, evaluatedRun.evaluations, 4)
	plain, _, err := whole(t, without)
	require.NoError(t, err)
	assert.Equal(t, plain.losses(), evaluatedRun.losses())
	assert.Equal(t, fixture.FinalState(t, without), fixture.FinalState(t, with))
	assert.Equal(t, plain.ready.Epochs, evaluatedRun.ready.Epochs, "what is evaluated is never trained on")
}

func TestEvaluationCountsEachPictureOnce(t *testing.T) {
	j := evaluatedJob(t, t.TempDir())
	r, _, err := whole(t, j)
	require.NoError(t, err)
	first := r.evaluations[0]
	require.Len(t, first.Losses, 2)
	assert.Equal(t, "same", first.Losses[0].Dataset)
	assert.Equal(t, 5, first.Losses[0].Pictures)
	assert.Equal(t, "other", first.Losses[1].Dataset)
	assert.Equal(t, 3, first.Losses[1].Pictures)
	require.NotNil(t, first.Pooled)
	assert.InDelta(t, (5*first.Losses[0].Loss+3*first.Losses[1].Loss)/8, *first.Pooled, 1e-12)

	j = evaluatedJob(t, t.TempDir())
	j.Evaluation.Pictures, j.Evaluation.Pooled = 2, false
	r, _, err = whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, 2, r.evaluations[0].Losses[0].Pictures)
	assert.Nil(t, r.evaluations[0].Pooled)
}

func TestEvaluationOfAnotherSeedSeesTheSameNoise(t *testing.T) {
	batches := func(seed uint64) (all []engine.Evaluation) {
		j := evaluatedJob(t, t.TempDir())
		j.Engine.Seed = seed
		r := &run{job: j, engine: &fake.Engine{}, reporter: scanOnly{}}
		require.NoError(t, r.scan(t.Context()))
		for _, set := range r.data.evaluated {
			set.cached = make([]engine.Sample, len(set.samples))
			for i, sample := range set.samples {
				set.cached[i].Latents = fmt.Sprint(filepath.Base(sample.Path), sample.Placement)
			}
		}
		return r.evaluations()
	}
	first := batches(1)
	assert.Equal(t, first, batches(2))
	require.Len(t, first, 5, "pictures of 64x64 and 96x64, two at a time")
	assert.Equal(t, []int{0, 2, 3, 0, 2}, []int{first[0].First, first[1].First, first[2].First, first[3].First, first[4].First})
	for _, batch := range first {
		assert.Equal(t, 4, batch.Timesteps)
	}
}

func TestEvaluationsOfAResumedRunAreThoseOfTheWhole(t *testing.T) {
	uninterrupted, _, err := whole(t, evaluatedJob(t, t.TempDir()))
	require.NoError(t, err)
	dir := t.TempDir()
	var parts [][]Evaluation
	for _, stop := range []int64{5, 6, 13, 20} {
		r, control := &recorder{}, NewControl()
		control.Allow(stop)
		r.onPaused = func(int64) { control.Stop() }
		_, err := runJob(t, evaluatedJob(t, dir), control, r)
		require.NoError(t, err)
		parts = append(parts, r.evaluations)
	}
	assert.Equal(t, timeless(uninterrupted.evaluations), timeless(parts...))
	assert.Len(t, parts[1], 1, "step 6")
	told, err := ReadSteps(filepath.Join(dir, "output", "run", "checkpoint-6"))
	require.NoError(t, err)
	require.Len(t, told.Steps, 1)
	assert.Equal(t, &parts[1][0], told.Steps[0].Evaluation, "the checkpoint tells of it")
	assert.Len(t, parts[2], 1, "step 12, and not step 6 again")
}

func TestAnEvaluationThatIsCutShortIsMadeUpFor(t *testing.T) {
	uninterrupted, _, err := whole(t, evaluatedJob(t, t.TempDir()))
	require.NoError(t, err)
	for _, last := range []int64{6, 20} { // the second one is the last of all
		dir := t.TempDir()
		r, control := &recorder{}, NewControl()
		control.Allow(20)
		r.onStep = func(step int64) {
			if step == last {
				control.Stop()
			}
		}
		outcome, err := runJob(t, evaluatedJob(t, dir), control, r)
		require.NoError(t, err)
		assert.Equal(t, Stopped, outcome)
		assert.NotContains(t, evaluatedSteps(r), last)
		require.NoError(t, r.evalErr)
		m, err := checkpoint.ReadManifest(filepath.Join(dir, "output", "run", fmt.Sprint("checkpoint-", last)))
		require.NoError(t, err)
		assert.True(t, m.EvaluationOwed)

		rest, outcome, err := whole(t, evaluatedJob(t, dir))
		require.NoError(t, err)
		assert.Equal(t, Completed, outcome)
		assert.Equal(t, timeless(uninterrupted.evaluations), timeless(r.evaluations, rest.evaluations))
		m, err = checkpoint.ReadManifest(filepath.Join(dir, "output", "run", "checkpoint-20"))
		require.NoError(t, err)
		assert.Equal(t, "final", m.Reason)
		assert.False(t, m.EvaluationOwed)

		again, _, err := whole(t, evaluatedJob(t, dir))
		require.NoError(t, err)
		assert.Empty(t, again.evaluations, "a completed run owes nothing")
	}
}

func TestAFailedEvaluationCostsNoStep(t *testing.T) {
	j := fixture.Faults(evaluatedJob(t, t.TempDir()), fake.Faults{EvalCode: engine.OutOfMemory})
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Len(t, r.steps, 20)
	assert.Empty(t, r.evaluations)
	var failure *engine.Error
	require.True(t, errors.As(r.evalErr, &failure))
	assert.Equal(t, engine.OutOfMemory, failure.Code)

	lost := fixture.Faults(evaluatedJob(t, t.TempDir()), fake.Faults{EvalCode: engine.DeviceLost})
	_, _, err = whole(t, lost)
	assert.ErrorContains(t, err, "evaluate step 6")
}

func TestPicturesThatCannotBeEvaluatedAreNamed(t *testing.T) {
	dir := t.TempDir()
	j := evaluatedJob(t, dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "own", "1.png"), []byte("no picture"), 0o644))
	gone := j.Evaluation.Datasets[0]
	gone.ID, gone.Folder = "gone", filepath.Join(dir, "nowhere")
	j.Evaluation.Datasets = append(j.Evaluation.Datasets, gone)
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	require.NotEmpty(t, r.evaluations)
	require.Len(t, r.evaluations[0].Losses, 2)
	assert.Equal(t, 2, r.evaluations[0].Losses[1].Pictures)
	assert.Contains(t, fmt.Sprint(r.warnings), "own/1.png")
	assert.Contains(t, fmt.Sprint(r.warnings), "dataset gone is not evaluated")
}

func TestEvaluationsEndWithTheirCacheAndTrainingGoesOn(t *testing.T) {
	dir := t.TempDir()
	j := evaluatedJob(t, dir)
	j.Evaluation.Datasets = j.Evaluation.Datasets[1:] // pictures of their own
	_, _, err := whole(t, fixture.Job(t, dir))        // caches what is trained on
	require.NoError(t, err)
	j.Name = "evaluated"
	kept := cachedLatents(t, dir)
	r, control := &recorder{}, NewControl()
	control.Allow(20)
	r.onStep = func(step int64) {
		for path := range cachedLatents(t, dir) {
			if step == 7 && !kept[path] {
				require.NoError(t, os.Remove(path))
			}
		}
	}
	outcome, err := runJob(t, j, control, r)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Equal(t, []int64{6}, evaluatedSteps(r))
	assert.ErrorContains(t, r.evalErr, "no such file")
}

// cachedLatents are the files of the cache that hold latents.
func cachedLatents(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, "cache"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(`"mean"`)) {
			found[path] = true
		}
		return err
	}))
	return found
}

func TestPlansCountEvaluations(t *testing.T) {
	j := fixture.Faults(evaluatedJob(t, t.TempDir()), fake.Faults{Memory: 1 << 60})
	_, _, err := whole(t, j)
	assert.ErrorContains(t, err, "the datasets that are evaluated count as well")
	r := &run{job: j, engine: &fake.Engine{}, reporter: scanOnly{}}
	require.NoError(t, r.scan(t.Context()))
	shape := func(width, batch int) engine.Shape {
		return engine.Shape{Width: width, Height: 64, TextTokens: 32, Batch: batch, Evaluation: true}
	}
	assert.Equal(t, []engine.Shape{shape(64, 2), shape(64, 1), shape(96, 2), shape(96, 1)}, r.data.shapes[2:])
}
