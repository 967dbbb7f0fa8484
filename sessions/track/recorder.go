package track

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

// Run is run.Run with the trackers that the job asks for.
func Run(ctx context.Context, request run.Request, e engine.Engine, control *run.Control, reporter run.Reporter) (run.Outcome, error) {
	if request.Job.Tracking == nil || len(request.Job.Tracking.To) == 0 {
		return run.Run(ctx, request, e, control, reporter)
	}
	r := newRecorder(request.Job, reporter, time.Now)
	failed := true
	defer func() { r.close(failed) }()
	outcome, err := run.Run(ctx, request, e, control, r)
	failed = err != nil
	return outcome, err
}

// queued is the number of records that may wait; most are some numbers of a step.
const queued = 4096

// closeWait bounds how long a disk that hangs can hold up the end of a run.
const closeWait = 10 * time.Second

// recorder passes everything on to the next reporter, and what trackers record into a queue.
type recorder struct {
	run.Reporter
	now    func() time.Time
	writer *writer
	queue  chan any      // run.Ready, step, sample, evaluation or saved
	done   chan struct{} // closed when all of it is written

	mu       sync.Mutex
	closed   bool
	full     bool     // the queue has been
	problems []string // not reported yet
}

func newRecorder(j *job.Job, next run.Reporter, now func() time.Time) *recorder {
	r := &recorder{Reporter: next, now: now, queue: make(chan any, queued), done: make(chan struct{})}
	w := &writer{job: j, now: now, open: map[string]tracker{}, warn: r.note}
	r.writer = w
	go func() {
		defer close(r.done)
		defer func() {
			if reason := recover(); reason != nil {
				r.note(fmt.Sprintf("defect in the trackers: %v; the run goes on without them", reason))
			}
		}()
		w.run(r.queue)
	}()
	return r
}

// put never waits. A queue that is full means that a disk hangs, and steps matter more.
func (r *recorder) put(record any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	select {
	case r.queue <- record:
	default:
		if !r.full {
			r.full = true
			r.problems = append(r.problems, "the disk is too slow for the trackers; some records are missing from their files")
		}
	}
}

// note keeps a problem until the goroutine of the run can report it.
func (r *recorder) note(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, problem)
}

func (r *recorder) report() {
	r.mu.Lock()
	problems := r.problems
	r.problems = nil
	r.mu.Unlock()
	for _, problem := range problems {
		r.Warning(problem)
	}
}

// close returns when everything is on the disk, or the disk hangs.
func (r *recorder) close(failed bool) {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.writer.failed = failed // not by the queue, which may be full
	close(r.queue)
	timeout := time.NewTimer(closeWait)
	defer timeout.Stop()
	select {
	case <-r.done:
	case <-timeout.C:
		r.note("the disk did not take the last records of the trackers in time")
	}
	r.report()
}

// OnStep implements engine.Sink.
func (r *recorder) OnStep(e engine.StepEvent) {
	r.put(step{StepEvent: e, time: r.now()})
	r.Reporter.OnStep(e)
}

// Ready implements run.Reporter.
func (r *recorder) Ready(ready run.Ready) {
	r.put(ready)
	r.Reporter.Ready(ready)
}

// Sample implements run.Reporter.
func (r *recorder) Sample(s run.Sample) {
	r.put(sample{Sample: s, time: r.now()})
	r.Reporter.Sample(s)
	r.report()
}

// Evaluation implements run.Reporter.
func (r *recorder) Evaluation(e run.Evaluation) {
	r.put(evaluation{Evaluation: e, time: r.now()})
	r.Reporter.Evaluation(e)
}

// Checkpoint implements run.Reporter.
func (r *recorder) Checkpoint(ctx context.Context, info *checkpoint.Info) error {
	r.put(saved{step: info.Manifest.Step, path: info.Path, reason: info.Manifest.Reason, time: r.now()})
	r.report()
	return r.Reporter.Checkpoint(ctx, info)
}

// writer owns the trackers.
type writer struct {
	job   *job.Job
	now   func() time.Time
	warn  func(problem string)
	ready *run.Ready
	early []any // pictures of the beginning come before run.Ready
	open  map[string]tracker
	// failed tells how the run ended; it is set before the queue is closed and read after that.
	failed bool
}

// run writes until the queue is closed. Files are flushed whenever the queue is empty, so that readers see a run live.
func (w *writer) run(queue <-chan any) {
	for record := range queue {
		w.take(record)
		if len(queue) == 0 {
			w.each(tracker.flush)
		}
	}
	w.each(func(t tracker) error { return t.close(w.failed) })
}

func (w *writer) take(record any) {
	ready, ok := record.(run.Ready)
	switch {
	case ok:
		w.ready = &ready
		w.begin()
		for _, early := range w.early {
			w.write(early)
		}
		w.early = nil
	case w.ready == nil:
		w.early = append(w.early, record)
	default:
		w.write(record)
	}
}

func (w *writer) begin() {
	config, err := json.Marshal(w.job)
	if err != nil {
		w.warn("write job as JSON for the trackers: " + err.Error())
		return
	}
	tracking := w.job.Tracking
	for _, form := range tracking.To {
		opener, known := openers[form]
		if !known {
			w.warn(fmt.Sprintf("tracker %q is unknown; the run goes on without it", form))
			continue
		}
		t, err := opener(start{dir: w.job.RunDir(), project: tracking.Project, run: tracking.Run, config: config, step: w.ready.Step,
			now: w.now, newID: newRunID})
		if err != nil {
			w.lost(form, err)
			if t != nil {
				_ = t.close(true)
			}
			continue
		}
		w.open[form] = t
	}
}

func (w *writer) write(record any) {
	w.each(func(t tracker) error {
		switch record := record.(type) {
		case step:
			record.epoch = w.ready.EpochOf(record.Step)
			return t.step(record)
		case sample:
			return t.sample(record)
		case evaluation:
			return t.evaluation(record)
		case saved:
			if err := t.checkpoint(record); err != nil {
				return err
			}
			// What a resume continues from should be there after a power cut.
			return t.sync()
		}
		return nil
	})
}

// each drops the trackers that fail.
func (w *writer) each(do func(tracker) error) {
	for form, t := range w.open {
		if err := do(t); err != nil {
			delete(w.open, form)
			w.lost(form, err)
			_ = t.close(true)
		}
	}
}

func (w *writer) lost(form string, err error) {
	w.warn(fmt.Sprintf("tracker %s: %v; the run goes on without it", form, err))
}
