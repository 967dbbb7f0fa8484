// Package run is the training loop. Run reads from top to bottom in the order in which things happen: data, memory,
// model, caches, resume, then train to the next boundary, checkpoint, sample, pause, until the end.
//
// One goroutine runs it; Control carries requests in and Reporter carries news out.
package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/paths"
)

// Outcome tells why a run ended: without an error, unless it is one that a new run mends.
type Outcome string

// The outcomes.
const (
	Completed Outcome = "completed" // at the last step of the job
	Aborted   Outcome = "aborted"   // on request, for good
	Stopped   Outcome = "stopped"   // to be continued; on request, or with an error by what a new run mends
)

// Request is what to run and where it keeps its caches.
type Request struct {
	Job *job.Job
	// CacheDir is shared by all runs.
	CacheDir string
	// Session and Attempt tell whose steps these are, in what checkpoints keep of them.
	Session string
	Attempt int
	// Limit is where all files and folders of the job have to be; nil: anywhere.
	Limit *paths.Limit
	// FS is for tests of failing disks; nil: the operating system's.
	FS checkpoint.FS
	// DiskRetry is how long to wait before a checkpoint is tried again on a full disk; zero: 30 seconds.
	DiskRetry time.Duration
}

// errEnding ends preparations when an abort or a stop comes; it never leaves the package.
var errEnding = errors.New("run is ending")

// run is the state of one Run.
type run struct {
	job      *job.Job
	jobJSON  []byte
	request  Request
	engine   engine.Engine
	control  *Control
	reporter Reporter
	progress *progress

	folder  *checkpoint.Folder
	data    *data
	session engine.Session
	ready   Ready
	cursor  *dataset.Cursor
	stage   stageProgress // changed only between calls of the engine
	cached  []engine.Sample
	texts   map[string]string // file of each caption
	window  window
	caching bool // the folder of caches was there

	preview  int       // as in job.Sampling; 0 also after previews failed
	sampling []picture // of the engine's Sample in progress

	step     int64 // applied so far
	lastStep engine.StepEvent
	steps    []Step           // since the last recorded checkpoint; changed only during Train and evaluate
	last     *checkpoint.Info // newest checkpoint; nil: none yet
	owed     bool             // a checkpoint was asked for before the first step
	sampled  bool             // pictures were made since the run started
	cutShort int64            // step whose evaluation was cut short by the end of the run; 0: none

	scripts *scripts
}

// Run trains a job until its end, an abort, a stop or an error. When the error leaves the trained state usable, it is in
// a checkpoint. A cache that was removed meanwhile ends it as Stopped and with an error.
func Run(ctx context.Context, request Request, e engine.Engine, control *Control, reporter Reporter) (Outcome, error) {
	if request.DiskRetry == 0 {
		request.DiskRetry = 30 * time.Second
	}
	r := &run{job: request.Job, request: request, engine: e, control: control, reporter: reporter, progress: newProgress(request.Job),
		preview: request.Job.Sampling.Preview}
	if err := r.job.CheckPaths(request.Limit.Check); err != nil {
		return "", engine.Errorf(engine.Invalid, "%v", err)
	}
	unlock, err := r.openFolder(ctx)
	if err != nil {
		return r.outcome(err)
	}
	defer unlock()
	defer func() { _ = r.close() }() // when Run panics; otherwise it is closed already
	r.scripts = newScripts(ctx, r)
	err = r.work(ctx)
	err = errors.Join(err, r.close()) // scripts may take long, and need no model
	r.writeSheet()
	r.scripts.end(err == nil)
	if err == nil && r.job.Scripts != nil { // they kept their checkpoints
		r.letGo()
	}
	outcome, err := r.outcome(err)
	if err != nil && r.cacheIsGone() {
		return Stopped, fmt.Errorf("%w; files of the cache %s were removed during the training: go on from the last checkpoint (grant steps, or start the job again), and the cache is made again",
			err, request.CacheDir)
	}
	return outcome, err
}

// work is everything between opening the run folder and closing the engine's session.
func (r *run) work(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	err := r.loop(ctx)
	if err != nil && !errors.Is(err, errEnding) {
		r.rescue(ctx, err)
	}
	return err
}

// prepare does everything up to the first step.
func (r *run) prepare(ctx context.Context) error {
	ctx, cancel := r.control.onEnd(ctx)
	defer cancel()
	if err := r.checkPipeline(); err != nil {
		return err
	}
	if err := r.scan(ctx); err != nil {
		return err
	}
	if err := r.plan(ctx); err != nil {
		return err
	}
	session, err := r.engine.Open(ctx, r.job.Engine, r.sink())
	if err != nil {
		return fmt.Errorf("load model %s: %w", r.job.Engine.Model, err)
	}
	r.session = session
	if err := r.fillCaches(ctx); err != nil {
		return err
	}
	if err := r.resume(ctx); err != nil {
		return err
	}
	if r.step == 0 && r.job.Sampling.First && r.job.End() > 0 {
		return r.sample(ctx)
	}
	return nil
}

// loop serves one boundary per turn.
func (r *run) loop(ctx context.Context) error {
	r.cursor = r.data.plan.From(r.ready.BatchAt(r.step))
	r.control.Allow(r.step)
	r.reporter.Ready(r.ready)
	if r.owesEvaluation() {
		if err := r.evaluate(ctx); err != nil {
			return err
		}
	}
	if r.missedPictures() {
		if err := r.sample(ctx); err != nil {
			return err
		}
	}
	for {
		requests := r.control.take()
		switch {
		case r.step >= r.job.End() && !(requests.stop && r.isCutShort()): // else another run completes it
			return r.complete(ctx, requests)
		case requests.abort:
			return r.end(ctx, "abort")
		case requests.stop:
			return r.end(ctx, "stop")
		}
		if err := r.serve(ctx, requests); err != nil {
			return err
		}
		budget := r.budget()
		if r.step >= budget {
			if err := r.pause(ctx); err != nil {
				return err
			}
			continue
		}
		if err := r.train(ctx, budget); err != nil {
			return err
		}
	}
}

// serve does what was asked for at any step.
func (r *run) serve(ctx context.Context, requests requests) error {
	r.owed = r.owed || requests.checkpoint
	if r.owed && r.step > 0 {
		if err := r.save(ctx, "manual"); err != nil {
			return err
		}
	}
	if requests.sample {
		return r.sample(ctx)
	}
	return nil
}

// pause makes the budget's checkpoint and waits for a request or more budget.
func (r *run) pause(ctx context.Context) error {
	if err := r.save(ctx, "budget"); err != nil {
		return err
	}
	r.reporter.Paused(r.step)
	return r.control.wait(ctx, r.step)
}

// end makes the last checkpoint of a run that was told to end, and ends it also without one.
func (r *run) end(ctx context.Context, reason string) error {
	if err := r.save(ctx, reason); err != nil {
		r.reporter.Warning(fmt.Sprintf("the run ends without a checkpoint of step %d; the steps since the last one are lost: %v", r.step, err))
	}
	return errEnding
}

// complete makes the final files and serves what was asked for until the end.
func (r *run) complete(ctx context.Context, requests requests) error {
	if err := r.save(ctx, "final"); err != nil {
		return err
	}
	requests.checkpoint, r.owed = false, false
	if r.step > r.ready.Step && (r.job.Sampling.Last || r.samplingDue()) {
		requests.sample = true
	}
	for requests.checkpoint || requests.sample {
		if err := r.serve(ctx, requests); err != nil {
			return err
		}
		requests = r.control.take()
	}
	return nil
}

// rescue saves the last good state after an error that left it usable.
func (r *run) rescue(ctx context.Context, cause error) {
	var failure *engine.Error
	if !errors.As(cause, &failure) {
		return
	}
	switch failure.Code {
	case engine.DeviceLost, engine.Internal, engine.State:
		return
	}
	if err := r.save(ctx, "error"); err != nil {
		r.reporter.Log("checkpoint after the error: " + err.Error())
	}
}

func (r *run) outcome(err error) (Outcome, error) {
	requests := r.control.take()
	switch {
	case err == nil:
		return Completed, nil
	case !errors.Is(err, errEnding) && !(r.control.ending() && isCancelled(err)):
		return "", err
	case requests.abort:
		return Aborted, nil
	default:
		return Stopped, nil
	}
}

func (r *run) close() error {
	if r.session == nil {
		return nil
	}
	return r.session.Close()
}

// isCancelled tells whether err only says that work was cut short on request.
func isCancelled(err error) bool {
	var failure *engine.Error
	return errors.Is(err, context.Canceled) || errors.As(err, &failure) && failure.Code == engine.Cancelled
}
