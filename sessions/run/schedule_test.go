package run

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

func (r *recorder) sampledSteps() (steps []int64) {
	for _, sample := range r.samples {
		if len(steps) == 0 || steps[len(steps)-1] != sample.Step {
			steps = append(steps, sample.Step)
		}
	}
	return steps
}

func TestEpochs(t *testing.T) {
	// Three micro-batches an epoch, two a step: epochs end within steps 2, 3, 5, 6, 8, …
	ready := Ready{Epochs: dataset.Epochs{{Batches: 3}}, Accumulation: 2}
	var ends, secondEnds []int64
	for step := range int64(10) {
		if ready.endsEpochs(step, 1) {
			ends = append(ends, step)
		}
		if ready.endsEpochs(step, 2) {
			secondEnds = append(secondEnds, step)
		}
	}
	assert.Equal(t, []int64{2, 3, 5, 6, 8, 9}, ends)
	assert.Equal(t, []int64{3, 6, 9}, secondEnds)
	assert.Equal(t, int64(1), ready.EpochOf(2))
	assert.Equal(t, never, ready.nextEpochs(4, 0))

	// Resumed at step 3 after six micro-batches, now with one a step: the next epoch is three steps away.
	resumed := Ready{Step: 3, FirstBatch: 6, Epochs: dataset.Epochs{{Batches: 3}}, Accumulation: 1}
	assert.Equal(t, int64(6), resumed.nextEpochs(3, 1))
	assert.Equal(t, int64(9), resumed.nextEpochs(3, 2))
	assert.False(t, resumed.endsEpochs(3, 1), "that was before")
	assert.Equal(t, int64(2), resumed.EpochOf(5))
}

func TestCheckpointsAndSamplesByEpoch(t *testing.T) {
	j := fixture.Job(t, t.TempDir()) // five pictures in two buckets: three micro-batches an epoch, two a step
	j.Steps = 10
	j.Save.EveryEpochs, j.Sampling.EveryEpochs = 2, 4
	r, _, err := whole(t, j)
	require.NoError(t, err)
	require.Equal(t, int64(3), r.ready.Epochs.Length(0))
	steps, reasons := r.saved()
	assert.Equal(t, []int64{3, 6, 9, 10}, steps)
	assert.Equal(t, []string{"interval", "interval", "interval", "final"}, reasons)
	assert.Equal(t, []int64{6}, r.sampledSteps())
}

func TestRollingCheckpointsAreCountedApart(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Save = job.Save{Every: 8, Keep: 2, Rolling: 3, KeepRolling: 1, DType: "fp32", Style: job.StyleSimpleTuner}
	r, _, err := whole(t, j)
	require.NoError(t, err)
	steps, reasons := r.saved()
	assert.Equal(t, []int64{3, 6, 8, 9, 12, 15, 16, 18, 20}, steps)
	assert.Equal(t, []string{"rolling", "rolling", "interval", "rolling", "rolling", "rolling", "interval", "rolling", "final"}, reasons)
	folders, err := filepath.Glob(filepath.Join(j.RunDir(), "checkpoint-*"))
	require.NoError(t, err)
	for i := range folders {
		folders[i] = filepath.Base(folders[i])
	}
	assert.Equal(t, []string{"checkpoint-16", "checkpoint-18-rolling", "checkpoint-20"}, folders)

	j.Resume = "checkpoint-18-rolling"
	r, _, err = whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, int64(18), r.ready.Step)
}

func TestRequestsAtTheLastStepAreServed(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	r, control := &recorder{}, NewControl()
	control.Allow(20)
	r.onStep = func(step int64) {
		if step == 20 {
			control.RequestSample()
			control.RequestCheckpoint()
		}
	}
	outcome, err := runJob(t, j, control, r)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Equal(t, []int64{20}, r.sampledSteps())
	steps, _ := r.saved()
	assert.Equal(t, []int64{20}, steps)
}

// lastWord makes a request while the final pictures are made.
type lastWord struct {
	fake.Engine
	during func()
}

func (e *lastWord) Open(ctx context.Context, c engine.Config, s engine.Sink) (engine.Session, error) {
	session, err := e.Engine.Open(ctx, c, s)
	return &lastWordSession{session, e}, err
}

type lastWordSession struct {
	engine.Session
	engine *lastWord
}

func (s *lastWordSession) Sample(ctx context.Context, requests []engine.SampleRequest) error {
	if during := s.engine.during; during != nil {
		s.engine.during = nil
		during()
	}
	return s.Session.Sample(ctx, requests)
}

func TestRequestsDuringTheFinalPicturesAreServed(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling.Last = true
	r, control := &recorder{}, NewControl()
	control.Allow(20)
	e := &lastWord{during: func() {
		control.RequestSample()
		control.RequestCheckpoint()
	}}
	outcome, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir()}, e, control, r)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Len(t, r.samples, 6, "twice")
	steps, reasons := r.saved()
	assert.Equal(t, []int64{20, 20}, steps, "the checkpoint that is there is reported again")
	assert.Equal(t, []string{"final", "final"}, reasons)
}

func TestSeveralRequestsCollapse(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Sampling.Every, j.Save.Every = 5, 5
	r, control := &recorder{}, NewControl()
	control.Allow(20)
	r.onStep = func(step int64) {
		if step == 5 || step == 7 { // once together with the schedule, once on its own
			for range 3 {
				control.RequestSample()
				control.RequestCheckpoint()
			}
		}
	}
	_, err := runJob(t, j, control, r)
	require.NoError(t, err)
	var steps []int64
	for _, sample := range r.samples {
		steps = append(steps, sample.Step)
	}
	assert.Equal(t, []int64{5, 7, 10, 15, 20}, steps)
	steps, _ = r.saved()
	assert.Equal(t, []int64{5, 7, 10, 15, 20}, steps)
}

func TestACheckpointAskedForBeforeTheFirstStepComesAfterIt(t *testing.T) {
	r, control := &recorder{}, NewControl()
	control.RequestCheckpoint()
	control.Allow(5)
	r.onPaused = func(int64) { control.Stop() }
	_, err := runJob(t, fixture.Job(t, t.TempDir()), control, r)
	require.NoError(t, err)
	steps, reasons := r.saved()
	assert.Equal(t, []int64{1, 5}, steps)
	assert.Equal(t, []string{"manual", "budget"}, reasons)
}

func TestAResumedRunWithAnotherAccumulationGoesOnAtItsMicroBatch(t *testing.T) {
	dir := t.TempDir()
	j := fixture.Job(t, dir)
	j.Steps = 4
	_, _, err := whole(t, j)
	require.NoError(t, err)
	j.Steps, j.Engine.Accumulation = 7, 1
	r, _, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, []string{"engine.accumulation", "steps"}, r.ready.Changed)
	assert.Equal(t, int64(8), r.ready.FirstBatch)
	last := r.checkpoints[len(r.checkpoints)-1].Manifest
	assert.Equal(t, int64(7), last.Step)
	assert.Equal(t, int64(11), last.MicroBatch)
	assert.Equal(t, int64(3), last.Epoch)
}

// scheduled adds a second dataset to the job, of which the first leaves and the second comes within the epochs.
func scheduled(j *job.Job) {
	second := j.Datasets[0]
	second.ID, second.DefaultCaption, second.Captions, second.StartStep, second.Probability, second.Repeats = "second", "sks", job.CaptionsFixed, 7, 3, 2
	j.Datasets[0].EndStep = 13
	third := second
	third.ID, third.StartStep, third.StartEpoch, third.EndEpoch = "third", 0, 2, 3
	j.Datasets = append(j.Datasets, second, third)
	j.Mixing = job.MixShare
}

func TestDatasetsComeAndLeave(t *testing.T) {
	j := fixture.Job(t, t.TempDir()) // an epoch of one dataset has three micro-batches, two a step
	scheduled(j)
	j.Save.EveryEpochs = 1
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	require.Equal(t, Completed, outcome)
	require.Greater(t, len(r.ready.Epochs), 2, "the epochs have different lengths")
	steps, reasons := r.saved()
	for i, step := range steps[:len(steps)-1] {
		assert.Equal(t, "interval", reasons[i])
		assert.Equal(t, r.ready.EpochOf(step), r.ready.EpochOf(step-1)+1, "step %d completes an epoch", step)
	}
	for _, info := range r.checkpoints {
		assert.Equal(t, r.ready.EpochOf(info.Manifest.Step), info.Manifest.Epoch)
	}

	all := fixture.Job(t, t.TempDir())
	scheduled(all)
	for i := range all.Datasets {
		d := &all.Datasets[i]
		d.StartStep, d.EndStep, d.StartEpoch, d.EndEpoch = 0, 0, 0, 0
	}
	other, _, err := whole(t, all)
	require.NoError(t, err)
	assert.NotEqual(t, r.losses(), other.losses(), "schedules change what is trained")
}

func TestScheduledRunsResumeBitForBit(t *testing.T) { assertResumesBitForBit(t, scheduled) }

func TestAStepWithoutDataIsRefusedBeforeTheFirst(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Datasets[0].EndEpoch = 4 // 12 micro-batches, six steps
	r, _, err := whole(t, j)
	require.ErrorContains(t, err, "datasets[0].end_epoch: no dataset takes part in step 7, in epoch 5 (pictures has end_epoch 4); let one end later or start earlier, or train 6 steps")
	assert.Empty(t, r.steps)
	j.Steps = 6
	_, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
}

// shuffled makes variants of the captions, which have a word or two.
func shuffled(j *job.Job) {
	j.Datasets[0].Shuffle = &job.CaptionShuffle{Count: 4, Seed: 5, SplitOn: job.SplitSpace, WithOriginal: true}
}

func TestShuffledCaptionsAreEncodedBeforeTheRunAndResumeBitForBit(t *testing.T) {
	assertResumesBitForBit(t, shuffled)
	j := fixture.Job(t, t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(j.Datasets[0].Folder, "0.txt"), []byte("red blue green"), 0o644))
	plain, _, err := whole(t, j)
	require.NoError(t, err)
	texts := func(dir string) (n int) {
		entries, err := filepath.Glob(filepath.Join(dir, "cache", "??", "*", "data.safetensors"))
		require.NoError(t, err)
		return len(entries)
	}
	before := texts(filepath.Dir(j.Output))
	j.Output = filepath.Join(filepath.Dir(j.Output), "second")
	shuffled(j)
	varied, _, err := whole(t, j)
	require.NoError(t, err)
	assert.Greater(t, texts(filepath.Dir(j.Output)), before, "variants are in the cache")
	assert.NotEqual(t, plain.losses(), varied.losses())
}

func TestBatchSizesOfDatasets(t *testing.T) {
	sized := func(j *job.Job) {
		second := j.Datasets[0]
		second.ID, second.BatchSize = "second", 3
		j.Datasets, j.Mixing = append(j.Datasets, second), job.MixShare
	}
	assertResumesBitForBit(t, sized)
	j := fixture.Job(t, t.TempDir()) // three pictures of 64x64 and two of 96x64
	sized(j)
	r := &run{job: j, engine: &fake.Engine{}, reporter: scanOnly{}}
	require.NoError(t, r.scan(context.Background()))
	largest := map[int]int{}
	for _, shape := range r.data.shapes {
		largest[shape.Width] = shape.Batch
	}
	assert.Equal(t, map[int]int{64: 3, 96: 2}, largest, "memory is planned for the largest micro-batches")
}
