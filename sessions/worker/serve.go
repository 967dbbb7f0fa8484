// Package worker runs a training in another process, or in a goroutine when embedded, under a supervisor. Both ends
// speak framed JSON over two pipes; the protocol is the same for processes and goroutines.
//
// A worker whose supervisor is gone sees the end of its pipe, finishes its step, writes a checkpoint and exits. That rule
// works for every way in which a supervisor can die; Linux's parent-death signal is not used, because it fires when the
// thread that started the child ends, not the process.
package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job/paths"
	"github.com/stepd/stepd/sessions/run"
	"github.com/stepd/stepd/sessions/track"
)

// File descriptors of a worker process, after stdin, stdout and stderr, which stay free for messages of libraries.
const (
	fromSupervisor = 3
	toSupervisor   = 4
)

// niceness keeps the supervisor responsive while all cores train.
const niceness = 5

// errSupervisorGone ends a run whose supervisor does not answer any more.
var errSupervisorGone = errors.New("supervisor is gone")

// Main is the body of the command "stepd worker". It returns the exit code.
func Main(e engine.Engine) int { return MainOn(e, checkpoint.OS{}) }

// MainOn is Main with other file operations on the run folder, for tests that end the worker at each of them.
func MainOn(e engine.Engine, fsys checkpoint.FS) int {
	lowerPriority()
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM, syscall.SIGINT)
	// What a run starts must not hold the pipes open.
	syscall.CloseOnExec(fromSupervisor)
	syscall.CloseOnExec(toSupervisor)
	in, out := os.NewFile(fromSupervisor, "from supervisor"), os.NewFile(toSupervisor, "to supervisor")
	if in == nil || out == nil {
		fmt.Fprintln(os.Stderr, "stepd worker is started by stepd serve, not by hand")
		return 2
	}
	if err := serve(context.Background(), in, out, e, fsys, terminate); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// lowerPriority is best effort; a worker at normal priority works as well. Linux keeps the value per thread and new
// threads inherit it.
func lowerPriority() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, task := range tasks {
		if id, err := strconv.Atoi(task.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, niceness)
		}
	}
}

// Serve runs one training for the supervisor at the other end of the pipes, and returns when the last message is
// written. An error of the training is a message, not an error of Serve.
func Serve(ctx context.Context, in io.Reader, out io.Writer, e engine.Engine) error {
	return serve(ctx, in, out, e, checkpoint.OS{}, nil)
}

func serve(ctx context.Context, in io.Reader, out io.Writer, e engine.Engine, fsys checkpoint.FS, terminate <-chan os.Signal) error {
	r := newReporter(out)
	defer r.flush()
	r.send(Message{Type: TypeHello, Hello: &Hello{Protocol: Protocol, PID: os.Getpid()}})
	first, err := ReadMessage(in)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	if first.Type != TypeStart || first.Start == nil || first.Start.Job == nil {
		return fmt.Errorf("worker: the first message is %q instead of a job", first.Type)
	}
	task := first.Start
	control := run.NewControl()
	ended := make(chan struct{})
	defer close(ended)
	go listen(in, control, r, ended)
	go func() {
		select {
		case <-terminate:
			control.Stop()
		case <-ended:
		}
	}()
	var outcome run.Outcome
	limit, err := paths.New(task.Roots)
	if err == nil {
		outcome, err = guardedRun(ctx, run.Request{Job: task.Job, CacheDir: task.CacheDir, Session: task.Session, Attempt: task.Attempt, Limit: limit, FS: fsys}, e, control, r)
	}
	r.send(Message{Type: TypeFinished, Outcome: outcome, Error: failure(err)})
	return nil
}

// guardedRun turns a panic of Go code into an error, so that it ends one session with a message.
func guardedRun(ctx context.Context, request run.Request, e engine.Engine, control *run.Control, r *reporter) (outcome run.Outcome, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			r.Log(fmt.Sprintf("panic: %v\n%s", reason, debug.Stack()))
			err = engine.Errorf(engine.Internal, "defect in the training loop: %v; its place is in the log", reason)
		}
	}()
	return track.Run(ctx, request, e, control, r)
}

// listen carries requests to the run until the pipe ends. It lives as long as the supervisor's end of the pipe.
func listen(in io.Reader, control *run.Control, r *reporter, ended <-chan struct{}) {
	for {
		m, err := ReadMessage(in)
		if err != nil {
			r.supervisorGone()
			control.Stop()
			return
		}
		switch m.Type {
		case TypeAllow:
			control.Allow(m.Step)
		case TypeAbort:
			control.Abort()
		case TypeStop:
			control.Stop()
		case TypeMakeSave:
			control.RequestCheckpoint()
		case TypeMakeSample:
			control.RequestSample()
		case TypeAcknowledged:
			select {
			case r.replies <- m:
			case <-ended:
			}
		}
	}
}

// reporter sends what a run reports. Messages wait in memory for the pipe, so that a slow supervisor does not delay a
// step.
type reporter struct {
	replies chan Message  // answers to the one question that is open; stale ones are dropped by ask
	gone    chan struct{} // closed by supervisorGone
	once    sync.Once     // of supervisorGone
	written chan struct{} // closed when the writer has ended

	mu     sync.Mutex
	queue  []Message
	closed bool
	wake   *sync.Cond

	question int64 // used by the goroutine of the run only
}

var _ run.Reporter = (*reporter)(nil)

func newReporter(out io.Writer) *reporter {
	r := &reporter{replies: make(chan Message, 16), gone: make(chan struct{}), written: make(chan struct{})}
	r.wake = sync.NewCond(&r.mu)
	go r.write(out)
	return r
}

// write ends after flush, or when the pipe is broken.
func (r *reporter) write(out io.Writer) {
	defer close(r.written)
	for {
		r.mu.Lock()
		for len(r.queue) == 0 && !r.closed {
			r.wake.Wait()
		}
		batch := r.queue
		r.queue = nil
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, m := range batch {
			if err := WriteMessage(out, m); err != nil {
				r.close()
				return
			}
		}
	}
}

func (r *reporter) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.queue = true, nil
	r.wake.Signal()
}

// flush waits until everything is written.
func (r *reporter) flush() {
	r.mu.Lock()
	r.closed = true
	r.wake.Signal()
	r.mu.Unlock()
	<-r.written
}

func (r *reporter) send(m Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.queue = append(r.queue, m)
		r.wake.Signal()
	}
}

func (r *reporter) supervisorGone() { r.once.Do(func() { close(r.gone) }) }

// ask sends a message and waits for its answer.
func (r *reporter) ask(ctx context.Context, m Message) error {
	r.question++
	m.ID = r.question
	r.send(m)
	for {
		select {
		case reply := <-r.replies:
			if reply.ID != m.ID {
				continue
			}
			if reply.Error != nil {
				return engine.Errorf(reply.Error.Code, "%s", reply.Error.Message)
			}
			return nil
		case <-r.gone:
			return errSupervisorGone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *reporter) OnStep(e engine.StepEvent) { r.send(Message{Type: TypeStep, StepEvent: &e}) }
func (r *reporter) OnProgress(e engine.ProgressEvent) {
	r.send(Message{Type: TypeProgress, Progress: &e})
}
func (r *reporter) Log(line string)       { r.send(Message{Type: TypeLog, Line: line}) }
func (r *reporter) Warning(line string)   { r.send(Message{Type: TypeWarning, Line: line}) }
func (r *reporter) Settled(line string)   { r.send(Message{Type: TypeSettled, Line: line}) }
func (r *reporter) Ready(ready run.Ready) { r.send(Message{Type: TypeReady, Ready: &ready}) }
func (r *reporter) Sample(s run.Sample)   { r.send(Message{Type: TypeSample, Sample: &s}) }
func (r *reporter) Preview(p run.Preview) { r.send(Message{Type: TypePreview, Preview: &p}) }
func (r *reporter) Script(s run.Script)   { r.send(Message{Type: TypeScript, Script: &s}) }
func (r *reporter) Paused(step int64)     { r.send(Message{Type: TypePaused, Step: step}) }
func (r *reporter) Running(step int64)    { r.send(Message{Type: TypeRunning, Step: step}) }
func (r *reporter) SampleFailed(step int64, err error) {
	r.send(Message{Type: TypeSampleFailed, Step: step, Error: failure(err)})
}
func (r *reporter) Evaluation(e run.Evaluation) {
	r.send(Message{Type: TypeEvaluation, Evaluation: &e})
}
func (r *reporter) EvaluationFailed(step int64, err error) {
	r.send(Message{Type: TypeEvalFailed, Step: step, Error: failure(err)})
}
func (r *reporter) Removed(step int64, path, reason string) {
	r.send(Message{Type: TypeRemoved, Step: step, Path: path, Line: reason})
}
func (r *reporter) Admit(ctx context.Context, plan engine.Plan) error {
	return r.ask(ctx, Message{Type: TypePlan, Plan: &plan})
}
func (r *reporter) Checkpoint(ctx context.Context, info *checkpoint.Info) error {
	return r.ask(ctx, Message{Type: TypeCheckpoint, Checkpoint: info})
}
