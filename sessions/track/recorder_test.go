package track

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

// listener hears what a run reports.
type listener struct {
	run.Reporter // what the tests do not call
	mu           sync.Mutex
	steps        int
	warnings     []string
}

func (l *listener) OnStep(engine.StepEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.steps++
}

func (l *listener) Warning(message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warnings = append(l.warnings, message)
}

func (*listener) OnProgress(engine.ProgressEvent)                    {}
func (*listener) Log(string)                                         {}
func (*listener) Admit(context.Context, engine.Plan) error           { return nil }
func (*listener) Ready(run.Ready)                                    {}
func (*listener) Checkpoint(context.Context, *checkpoint.Info) error { return nil }
func (*listener) Removed(int64, string, string)                      {}
func (*listener) Sample(run.Sample)                                  {}
func (*listener) Running(int64)                                      {}
func (*listener) Evaluation(run.Evaluation)                          {}

func TestARunWritesEveryForm(t *testing.T) {
	dir := t.TempDir()
	j := fixture.Job(t, dir)
	j.Save.Every, j.Sampling.Every, j.Sampling.First, j.Sampling.Last = 5, 10, true, true
	j.Sampling.Prompts[0].Name = "red"
	j.Tracking = &job.Tracking{To: []string{job.TrackJSONL, job.TrackTensorBoard, job.TrackWandb}, Project: "../p", Run: "r"}
	l := &listener{}
	control := run.NewControl()
	control.Allow(20)
	outcome, err := Run(context.Background(), run.Request{Job: j, CacheDir: filepath.Join(dir, "cache")}, &fake.Engine{}, control, l)
	require.NoError(t, err)
	require.Equal(t, run.Completed, outcome)
	require.Empty(t, l.warnings)
	want := recorded{pictures: []int64{0, 10, 20}}
	for i := range int64(20) {
		want.steps = append(want.steps, i+1)
	}
	for form, read := range readers {
		got := read(t, j.RunDir())
		if form == job.TrackWandb {
			require.Equal(t, int64(0), got.steps[0], "pictures of the beginning have a row of their own")
			got.steps = got.steps[1:]
		}
		assert.Equal(t, want, got, form)
	}
}

// stub is a tracker whose steps do what a test wants.
type stub struct {
	onStep func() error
	closed bool
	failed bool // the run, as close was told
}

func (s *stub) step(step) error             { return s.onStep() }
func (s *stub) sample(sample) error         { return nil }
func (s *stub) evaluation(evaluation) error { return nil }
func (s *stub) checkpoint(saved) error      { return nil }
func (s *stub) flush() error                { return nil }
func (s *stub) sync() error                 { return nil }
func (s *stub) close(failed bool) error {
	s.closed, s.failed = true, failed
	return nil
}

// withStub adds a form to those that a job can ask for.
func withStub(t *testing.T, form string, s *stub) *job.Job {
	t.Helper()
	openers[form] = func(start) (tracker, error) { return s, nil }
	t.Cleanup(func() { delete(openers, form) })
	return &job.Job{Tracking: &job.Tracking{To: []string{form}}}
}

func TestADiskThatHangsDelaysNoStep(t *testing.T) {
	release := make(chan struct{})
	slow := &stub{onStep: func() error {
		<-release
		return nil
	}}
	l := &listener{}
	r := newRecorder(withStub(t, "slow", slow), l, time.Now)
	r.Ready(run.Ready{})
	const steps = 3 * queued
	for i := range steps {
		r.OnStep(engine.StepEvent{Step: int64(i + 1)})
	}
	assert.Equal(t, steps, l.steps)
	r.Sample(run.Sample{Step: steps})
	require.Len(t, l.warnings, 1)
	assert.Contains(t, l.warnings[0], "some records are missing")
	close(release)
	r.close(false)
	assert.True(t, slow.closed)
	assert.Len(t, l.warnings, 1)
	r.OnStep(engine.StepEvent{}) // one that comes late is not recorded, and harms nobody
}

func TestAFullQueueDoesNotHideHowTheRunEnded(t *testing.T) {
	for _, failed := range []bool{false, true} {
		began, release := make(chan struct{}, 1), make(chan struct{})
		slow := &stub{onStep: func() error {
			select {
			case began <- struct{}{}:
			default:
			}
			<-release
			return nil
		}}
		r := newRecorder(withStub(t, "slow", slow), &listener{}, time.Now)
		r.Ready(run.Ready{})
		r.OnStep(engine.StepEvent{Step: 1})
		<-began
		for i := range queued + 1 {
			r.OnStep(engine.StepEvent{Step: int64(i + 2)})
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			r.close(failed)
		}()
		// The queue is full until close has given its word.
		require.Eventually(t, func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.closed
		}, closeWait, time.Millisecond)
		close(release)
		<-ended
		assert.Equal(t, []bool{true, failed}, []bool{slow.closed, slow.failed})
	}
}

func TestATrackerThatFailsIsDroppedWithOneWarning(t *testing.T) {
	count := 0
	broken := &stub{onStep: func() error {
		count++
		return errors.New("no space left on device")
	}}
	l := &listener{}
	j := withStub(t, "broken", broken)
	j.Output, j.Name = t.TempDir(), "run"
	j.Tracking.To = append(j.Tracking.To, job.TrackJSONL)
	r := newRecorder(j, l, time.Now)
	r.Ready(run.Ready{})
	for i := range int64(5) {
		r.OnStep(engine.StepEvent{Step: i + 1})
	}
	r.close(false)
	assert.Equal(t, 1, count)
	assert.True(t, broken.closed)
	assert.Equal(t, []string{"tracker broken: no space left on device; the run goes on without it"}, l.warnings)
	assert.Equal(t, []int64{1, 2, 3, 4, 5}, readJSONL(t, j.RunDir()).steps, "the others go on")
}

func TestADefectOfATrackerEndsTheTrackersOnly(t *testing.T) {
	l := &listener{}
	r := newRecorder(withStub(t, "defect", &stub{onStep: func() error { panic("defect") }}), l, time.Now)
	r.Ready(run.Ready{})
	for i := range int64(3) {
		r.OnStep(engine.StepEvent{Step: i + 1})
	}
	r.close(false)
	assert.Equal(t, 3, l.steps)
	assert.Equal(t, []string{"defect in the trackers: defect; the run goes on without them"}, l.warnings)
}

func TestAFolderThatCannotBeWrittenIsOneWarning(t *testing.T) {
	dir := t.TempDir()
	l := &listener{}
	j := &job.Job{Output: filepath.Join(dir, "missing\x00"), Name: "run", Tracking: &job.Tracking{To: []string{job.TrackJSONL, job.TrackWandb, job.TrackTensorBoard, "paper"}}}
	r := newRecorder(j, l, time.Now)
	r.Ready(run.Ready{})
	r.OnStep(engine.StepEvent{Step: 1})
	r.close(true)
	assert.Len(t, l.warnings, 4)
}
