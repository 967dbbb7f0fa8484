package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

// recorder is a Reporter that remembers, and runs hooks of the test in the goroutine of the run.
type recorder struct {
	mu          sync.Mutex
	steps       []engine.StepEvent
	checkpoints []*checkpoint.Info
	removed     []int64
	samples     []Sample
	previews    []Preview
	scripts     []Script
	warnings    []string
	settled     []string
	logs        []string
	paused      []int64
	ready       Ready
	sampleErr   error
	evaluations []Evaluation
	evalErr     error

	onPaused func(step int64)
	onStep   func(step int64)
	admit    func(engine.Plan) error
}

func (r *recorder) OnStep(e engine.StepEvent) {
	r.mu.Lock()
	r.steps = append(r.steps, e)
	r.mu.Unlock()
	if r.onStep != nil {
		r.onStep(e.Step)
	}
}
func (r *recorder) OnProgress(engine.ProgressEvent) {}
func (r *recorder) Log(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, line)
}
func (r *recorder) Settled(warning string) { r.settled = append(r.settled, warning) }
func (r *recorder) Warning(message string) { r.warnings = append(r.warnings, message) }
func (r *recorder) Admit(_ context.Context, plan engine.Plan) error {
	if r.admit != nil {
		return r.admit(plan)
	}
	return nil
}
func (r *recorder) Ready(ready Ready) { r.ready = ready }
func (r *recorder) Checkpoint(_ context.Context, info *checkpoint.Info) error {
	r.checkpoints = append(r.checkpoints, info)
	return nil
}
func (r *recorder) Removed(step int64, _, _ string) { r.removed = append(r.removed, step) }
func (r *recorder) Sample(s Sample)                 { r.samples = append(r.samples, s) }
func (r *recorder) Preview(p Preview)               { r.previews = append(r.previews, p) }
func (r *recorder) SampleFailed(_ int64, err error) { r.sampleErr = err }
func (r *recorder) Running(int64)                   {}
func (r *recorder) Evaluation(e Evaluation)         { r.evaluations = append(r.evaluations, e) }
func (r *recorder) EvaluationFailed(_ int64, err error) {
	r.evalErr = err
}
func (r *recorder) Script(s Script) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.scripts = append(r.scripts, s)
}
func (r *recorder) Paused(step int64) {
	r.paused = append(r.paused, step)
	if r.onPaused != nil {
		r.onPaused(step)
	}
}

func (r *recorder) saved() (steps []int64, reasons []string) {
	for _, info := range r.checkpoints {
		steps = append(steps, info.Manifest.Step)
		reasons = append(reasons, info.Manifest.Reason)
	}
	return steps, reasons
}

func (r *recorder) losses() map[int64]float64 {
	losses := map[int64]float64{}
	for _, e := range r.steps {
		losses[e.Step] = e.Loss
	}
	return losses
}

// grantAtPause gives the grants one by one, then calls the end.
func (r *recorder) grantAtPause(control *Control, grants []int64, end func()) {
	r.onPaused = func(step int64) {
		if len(grants) == 0 {
			end()
			return
		}
		control.Allow(step + grants[0])
		grants = grants[1:]
	}
}

func runJob(t *testing.T, j *job.Job, control *Control, r *recorder) (Outcome, error) {
	t.Helper()
	require.NoError(t, j.Check())
	return Run(context.Background(), Request{Job: j, CacheDir: filepath.Join(filepath.Dir(j.Output), "cache")}, &fake.Engine{}, control, r)
}

// whole runs a job with its whole budget granted.
func whole(t *testing.T, j *job.Job) (*recorder, Outcome, error) {
	t.Helper()
	r, control := &recorder{}, NewControl()
	control.Allow(j.Steps)
	outcome, err := runJob(t, j, control, r)
	return r, outcome, err
}

func TestBoundaries(t *testing.T) {
	max := int64(9)
	tests := []struct {
		name    string
		change  func(j *job.Job)
		grants  []int64
		steps   []int64
		reasons []string
		outcome Outcome
	}{
		{"budgets", func(*job.Job) {}, []int64{3, 4}, []int64{3, 7}, []string{"budget", "budget"}, Aborted},
		{"intervals", func(j *job.Job) { j.Save.Every = 4 }, []int64{10}, []int64{4, 8, 10}, []string{"interval", "interval", "budget"}, Aborted},
		{"interval at budget", func(j *job.Job) { j.Save.Every = 4 }, []int64{4}, []int64{4}, []string{"budget"}, Aborted},
		{"end", func(*job.Job) {}, []int64{5, 100}, []int64{5, 20}, []string{"budget", "final"}, Completed},
		{"max steps", func(j *job.Job) { j.MaxSteps = &max }, []int64{100}, []int64{9}, []string{"final"}, Completed},
		{"no budget", func(*job.Job) {}, nil, nil, nil, Aborted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := fixture.Job(t, t.TempDir())
			test.change(j)
			r, control := &recorder{}, NewControl()
			r.grantAtPause(control, test.grants, control.Abort)
			outcome, err := runJob(t, j, control, r)
			require.NoError(t, err)
			assert.Equal(t, test.outcome, outcome)
			steps, reasons := r.saved()
			assert.Equal(t, test.steps, steps)
			assert.Equal(t, test.reasons, reasons)
			for _, info := range r.checkpoints {
				_, err := checkpoint.Verify(info.Path)
				assert.NoError(t, err)
				assert.FileExists(t, info.Weights)
			}
			if test.outcome == Completed {
				assert.FileExists(t, filepath.Join(j.RunDir(), "run.safetensors"))
			}
		})
	}
}

func TestResumeContinuesBitForBit(t *testing.T) {
	assertResumesBitForBit(t, func(*job.Job) {})
}

// assertResumesBitForBit trains a job of 20 steps in one go, and in four with an end after each.
func assertResumesBitForBit(t *testing.T, change func(j *job.Job)) {
	t.Helper()
	makeJob := func(dir string) *job.Job {
		j := fixture.Job(t, dir)
		change(j)
		return j
	}
	uninterrupted, outcome, err := whole(t, makeJob(t.TempDir()))
	require.NoError(t, err)
	require.Equal(t, Completed, outcome)
	require.Len(t, uninterrupted.steps, 20)

	dir := t.TempDir()
	losses := map[int64]float64{}
	for part := range 4 {
		r, control := &recorder{}, NewControl()
		control.Allow(int64(part+1) * 5)
		r.onPaused = func(int64) { control.Stop() }
		_, err := runJob(t, makeJob(dir), control, r)
		require.NoError(t, err)
		assert.Equal(t, int64(part*5), r.ready.Step)
		for step, loss := range r.losses() {
			losses[step] = loss
		}
	}
	assert.Equal(t, uninterrupted.losses(), losses)

	last := func(dir string) map[string]checkpoint.File {
		m, err := checkpoint.Verify(filepath.Join(dir, "checkpoint-20"))
		require.NoError(t, err)
		delete(m.Files, "job.json") // names another folder
		delete(m.Files, stepsFile)  // is of each run by itself
		return m.Files
	}
	assert.Equal(t, last(filepath.Join(filepath.Dir(uninterrupted.checkpoints[0].Path))), last(filepath.Join(dir, "output", "run")))
}

func TestResumeFromADamagedCheckpointFallsBack(t *testing.T) {
	dir := t.TempDir()
	j := fixture.Job(t, dir)
	j.Save.Every = 5
	_, _, err := whole(t, j)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(filepath.Join(j.RunDir(), "checkpoint-20", "state", "state.json"), 4))
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Equal(t, int64(15), r.ready.Step)
	require.Len(t, r.warnings, 1)
	assert.Contains(t, r.warnings[0], "checkpoint-20")
	assert.Len(t, r.steps, 5)
}

// letsGo releases what a run waits for, at its first warning.
type letsGo struct {
	*recorder
	unlock func()
}

func (r letsGo) Warning(message string) {
	r.recorder.Warning(message)
	r.unlock()
}

func TestARunFolderInUseIsWaitedForAloud(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	require.NoError(t, j.Check())
	require.NoError(t, os.MkdirAll(j.RunDir(), 0o755))
	unlock, err := checkpoint.Lock(context.Background(), j.RunDir(), nil)
	require.NoError(t, err)
	control := NewControl()
	control.Allow(j.Steps)
	r := letsGo{&recorder{}, unlock}
	outcome, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir()}, &fake.Engine{}, control, r)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	require.Len(t, r.warnings, 1)
	assert.Contains(t, r.warnings[0], j.RunDir()+" is in use by another process")
}

func TestResumeSelections(t *testing.T) {
	tests := []struct {
		resume  string
		start   int64
		failure string
	}{
		{"", 20, ""},
		{job.ResumeLatest, 20, ""},
		{"checkpoint-10", 10, ""},
		{"checkpoint-11", 0, "no usable checkpoint of step 11"},
		{job.ResumeNone, 0, "holds checkpoints"},
	}
	for _, test := range tests {
		t.Run(test.resume, func(t *testing.T) {
			j := fixture.Job(t, t.TempDir())
			j.Save.Every = 10
			_, _, err := whole(t, j)
			require.NoError(t, err)
			j.Resume = test.resume
			r, _, err := whole(t, j)
			if test.failure != "" {
				require.ErrorContains(t, err, test.failure)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.start, r.ready.Step)
			assert.Len(t, r.steps, int(20-test.start))
		})
	}
}

func TestChangedJobFieldsAreReported(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Steps = 4
	_, _, err := whole(t, j)
	require.NoError(t, err)
	j.Steps, j.Engine.Optimizer.LR = 6, 0.2
	j.Sampling.Every, j.Save.Every, j.LogEvery = 3, 2, 5 // change nothing that is trained
	require.NoError(t, os.WriteFile(filepath.Join(j.Datasets[0].Folder, "0.txt"), []byte("another caption"), 0o644))
	r, _, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, []string{"engine.optimizer.lr", "steps", "data"}, r.ready.Changed)
	assert.Len(t, r.warnings, 1)
}

func TestLargeNumbersOfAJobAreCompared(t *testing.T) {
	before, err := flatten([]byte(`{"engine":{"seed":9007199254740993,"lr":0.1}}`))
	require.NoError(t, err)
	now, err := flatten([]byte(`{"engine":{"seed":9007199254740992,"lr":0.1}}`))
	require.NoError(t, err)
	assert.NotEqual(t, before["engine.seed"], now["engine.seed"])
	assert.Equal(t, before["engine.lr"], now["engine.lr"])
}

func TestRequestsAreServedAtTheNextStep(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	r, control := &recorder{}, NewControl()
	control.Allow(20)
	r.onStep = func(step int64) {
		switch step {
		case 3:
			control.RequestCheckpoint()
		case 6:
			control.RequestSample()
		case 9:
			control.Abort()
		}
	}
	outcome, err := runJob(t, j, control, r)
	require.NoError(t, err)
	assert.Equal(t, Aborted, outcome)
	steps, reasons := r.saved()
	assert.Equal(t, []string{"manual", "abort"}, reasons)
	assert.Equal(t, []int64{3, 9}, steps)
	require.Len(t, r.samples, 1)
	assert.Equal(t, int64(6), r.samples[0].Step)
	assert.FileExists(t, r.samples[0].Path)
	assert.Regexp(t, `/samples/\d{13}__000000006_0\.png$`, r.samples[0].Path)
}

func TestSamplesAreMadeOnSchedule(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Steps = 6
	j.Sampling.Every, j.Sampling.First, j.Sampling.Last = 2, true, true
	r, _, err := whole(t, j)
	require.NoError(t, err)
	var steps []int64
	for _, sample := range r.samples {
		steps = append(steps, sample.Step)
	}
	assert.Equal(t, []int64{0, 2, 4, 6}, steps)
}

func TestFailures(t *testing.T) {
	tests := []struct {
		name    string
		faults  fake.Faults
		code    engine.Code
		rescued bool
	}{
		{"not finite", fake.Faults{FailAt: 4, FailCode: engine.Numeric}, engine.Numeric, true},
		{"out of device memory", fake.Faults{FailAt: 4, FailCode: engine.DeviceOOM}, engine.DeviceOOM, true},
		{"device lost", fake.Faults{FailAt: 4, FailCode: engine.DeviceLost}, engine.DeviceLost, false},
		{"load", fake.Faults{OpenCode: engine.NotFound}, engine.NotFound, false},
		{"too large", fake.Faults{Memory: 1 << 41}, engine.OutOfMemory, false},
		{"save", fake.Faults{SaveCode: engine.IO}, engine.IO, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, outcome, err := whole(t, fixture.Faults(fixture.Job(t, t.TempDir()), test.faults))
			var failure *engine.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, test.code, failure.Code)
			assert.Empty(t, outcome)
			steps, reasons := r.saved()
			if !test.rescued {
				assert.Empty(t, steps)
				return
			}
			assert.Equal(t, []int64{3}, steps)
			assert.Equal(t, []string{"error"}, reasons)
		})
	}
}

func TestFailedSamplesDoNotStopTraining(t *testing.T) {
	j := fixture.Faults(fixture.Job(t, t.TempDir()), fake.Faults{SampleCode: engine.DeviceOOM})
	j.Sampling.Every = 5
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Error(t, r.sampleErr)
	assert.Len(t, r.steps, 20)
}

func TestAbortDuringPreparation(t *testing.T) {
	r, control := &recorder{}, NewControl()
	r.admit = func(engine.Plan) error {
		control.Abort()
		return context.Canceled
	}
	outcome, err := runJob(t, fixture.Job(t, t.TempDir()), control, r)
	require.NoError(t, err)
	assert.Equal(t, Aborted, outcome)
	assert.Empty(t, r.checkpoints)
}

func TestRetentionKeepsTheNewest(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	j.Save.Every, j.Save.Keep = 5, 2
	r, _, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, []int64{5, 10}, r.removed)
	published, err := filepath.Glob(filepath.Join(j.RunDir(), "run_*.safetensors"))
	require.NoError(t, err)
	assert.Len(t, published, 2)
}

func TestTheSecondRunFindsItsCache(t *testing.T) {
	dir := t.TempDir()
	encoded := 0
	for i := range 2 {
		j := fixture.Job(t, dir)
		j.Name = []string{"first", "second"}[i]
		r, control := &recorder{}, NewControl()
		control.Allow(20)
		counting := &countingEngine{encoded: &encoded}
		_, err := Run(context.Background(), Request{Job: j, CacheDir: filepath.Join(dir, "cache")}, counting, control, r)
		require.NoError(t, err)
	}
	assert.Equal(t, 5+4, encoded, "five pictures, three captions and the empty one, once")
}

type countingEngine struct {
	fake.Engine
	encoded *int
}

func (e *countingEngine) Open(ctx context.Context, c engine.Config, s engine.Sink) (engine.Session, error) {
	session, err := e.Engine.Open(ctx, c, s)
	return &countingSession{session, e.encoded}, err
}

type countingSession struct {
	engine.Session
	encoded *int
}

func (s *countingSession) EncodeImages(ctx context.Context, items []engine.ImageItem) error {
	*s.encoded += len(items)
	return s.Session.EncodeImages(ctx, items)
}

func (s *countingSession) EncodeText(ctx context.Context, items []engine.TextItem) error {
	*s.encoded += len(items)
	return s.Session.EncodeText(ctx, items)
}

func TestProgressLine(t *testing.T) {
	p := newProgress(&job.Job{Name: "my_run", Steps: 2000, LogEvery: 1})
	line := p.line(engine.StepEvent{Step: 100, Loss: 0.3213, LR: 1e-4, Seconds: 0.8})
	assert.Equal(t, "my_run:   5%|          | 100/2000 [00:00<25:20,  1.25it/s, lr: 1.0e-04 loss: 3.213e-01]", line)
}

func TestABadPictureIsNamed(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	require.NoError(t, os.WriteFile(filepath.Join(j.Datasets[0].Folder, "broken.png"), []byte("no picture"), 0o644))
	_, _, err := whole(t, j)
	require.ErrorContains(t, err, "broken.png")
	j.SkipBadImages = true
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.NotEmpty(t, r.warnings)
	assert.False(t, errors.Is(err, errEnding))
}
