package sessions

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// grant adds to the budget. It runs in the actor's goroutine, as everything in this file.
func (a *actor) grant(request GrantRequest) (Grant, error) {
	if request.Key != "" {
		for _, g := range a.grants {
			if g.Key == request.Key {
				return a.repeat(g, request.Steps)
			}
		}
	}
	return a.addGrant(request), nil
}

// repeat answers a key that was sent before. A grant that was clipped at the cap was for more steps than are stored.
func (a *actor) repeat(g store.Grant, steps int64) (Grant, error) {
	clipped := a.state.MaxSteps != nil && g.Target == *a.state.MaxSteps
	if steps != g.Steps && !(clipped && steps > g.Steps) {
		return Grant{}, fmt.Errorf("%w: it was for %d steps, and this request is for %d; send another key for another grant", ErrKeyReused, g.Steps, steps)
	}
	return Grant{Granted: g.Steps, Repeated: true, number: g.Number}, nil
}

func (a *actor) addGrant(request GrantRequest) Grant {
	if a.state.State.Terminal() {
		return Grant{AlreadyFinished: true}
	}
	steps := request.Steps
	if a.state.MaxSteps != nil {
		steps = min(steps, *a.state.MaxSteps-a.state.Allowed)
	}
	if steps <= 0 || a.state.State == Aborting || a.state.Allowed > 1<<62-steps {
		return Grant{}
	}
	a.state.Allowed += steps
	g := store.Grant{Number: int64(len(a.grants) + 1), Key: request.Key, Steps: steps, Target: a.state.Allowed, Outcome: store.Pending}
	a.setGrant(g)
	a.emit(KindGranted, GrantedEvent{Granted: steps, Allowed: a.state.Allowed})
	switch a.state.State {
	case Paused:
		a.setState(Running, "steps granted")
	case Interrupted:
		a.state.Interruption = ""
		a.setState(Initializing, "steps granted")
		a.startWorker()
	}
	if a.ready != nil {
		a.sendAfterCommit(worker.Message{Type: worker.TypeAllow, Step: a.state.Allowed})
	}
	return Grant{Granted: steps, number: g.Number}
}

// abort begins the ladder: a request, SIGTERM after AbortGrace, SIGKILL after KillGrace.
func (a *actor) abort() {
	if a.state.State.Terminal() || a.state.State == Aborting {
		return
	}
	a.state.Interruption = ""
	a.setState(Aborting, "abort requested")
	a.session.log.add(fmt.Sprintf("[session %s] abort requested", a.session.id))
	if a.worker == nil && !a.starting {
		a.setAborted()
		return
	}
	a.deadline.Reset(a.session.manager.options.AbortGrace)
	a.endAfterCommit(worker.TypeAbort)
}

// cancel also counts for a session that is aborting already.
func (a *actor) cancel() {
	if a.state.State.Terminal() {
		return
	}
	a.state.Cancelled = true
	a.change.dirty = true
	a.abort()
}

// endAfterCommit ends what the worker is doing, and the waits on its behalf, when it is durable that they shall end.
func (a *actor) endAfterCommit(how worker.Type) {
	a.afterCommit(func(err error) {
		if err == nil && a.endWork != nil {
			a.endWork()
		}
	})
	a.sendAfterCommit(worker.Message{Type: how})
}

func (a *actor) setAborted() {
	a.settleGrants(1<<62, store.Stopped)
	a.setState(Aborted, "the worker has ended")
	a.session.log.end()
}

// escalate is the next rung of the ladder.
func (a *actor) escalate() {
	if a.worker == nil || a.state.State != Aborting {
		return
	}
	if !a.killing {
		a.killing = true
		a.session.log.add("worker did not stop in time; terminating it")
		a.worker.Terminate()
		a.deadline.Reset(a.session.manager.options.KillGrace)
		return
	}
	a.session.log.add("worker did not terminate in time; killing it")
	a.worker.Kill()
}

func (a *actor) makeCheckpoint() error { return a.request(worker.TypeMakeSave) }
func (a *actor) makeSample() error     { return a.request(worker.TypeMakeSample) }

func (a *actor) request(what worker.Type) error {
	switch {
	case a.state.State.Terminal():
		return fmt.Errorf("session %q: %w", a.session.id, ErrFinished)
	case a.worker == nil || a.state.State == Aborting:
		return fmt.Errorf("session %q: %w", a.session.id, ErrNotRunning)
	}
	if err := a.worker.Send(worker.Message{Type: what}); err != nil {
		return fmt.Errorf("session %q: %w", a.session.id, ErrNotRunning)
	}
	return nil
}

// sendAfterCommit tells the worker what has become durable. A worker that is gone is noticed by its messages ending.
func (a *actor) sendAfterCommit(m worker.Message) {
	a.afterCommit(func(err error) {
		if err == nil && a.worker != nil {
			_ = a.worker.Send(m)
		}
	})
}

// startWorker starts a worker without waiting for it.
func (a *actor) startWorker() {
	a.starting = true
	a.state.Attempt++
	a.change.dirty = true
	m, task, kept := a.session.manager, a.task(), a.origin()
	a.afterCommit(func(err error) {
		if err != nil {
			a.starting = false
			return
		}
		a.session.keepOrigin(kept) // here, so that it never takes the place of what tells the end of the session
		go func() {
			w, err := worker.Start(m.options.Launcher, task, a.session.log.add)
			a.post(func() { a.started(w, err) })
		}()
	})
}

// task of the next worker. Where the job says to start counts for the first only: the others continue it.
func (a *actor) task() worker.Task {
	task := worker.Task{Job: a.permitted(), CacheDir: a.session.manager.cacheDir(), Session: a.session.key, Attempt: a.state.Attempt,
		Roots: a.session.manager.options.Limit.Folders()}
	if a.state.Attempt > 1 && a.state.LastCheckpoint != nil {
		continued := *task.Job
		continued.Resume = job.ResumeLatest
		task.Job = &continued
	}
	return task
}

func (a *actor) started(w *worker.Worker, err error) {
	a.starting = false
	if err != nil {
		a.logger().Error("start worker", zap.Error(err))
		switch {
		case a.state.State == Aborting:
			a.setAborted()
		case a.stopping:
			a.interrupt("the server was stopped")
		case errors.Is(err, worker.ErrDied):
			a.fruitless++
			a.withoutWorker(err.Error())
		default:
			a.fail("worker", err.Error())
		}
		return
	}
	a.worker = w
	a.state.PID = w.PID()
	a.change.dirty = true
	switch {
	case a.state.State == Aborting:
		a.deadline.Reset(a.session.manager.options.AbortGrace)
		a.sendAfterCommit(worker.Message{Type: worker.TypeAbort})
	case a.deleting: // and its abort could not be stored
		a.kill()
	case a.stopping:
		a.sendAfterCommit(worker.Message{Type: worker.TypeStop})
	}
}

// fail ends the session with an error.
func (a *actor) fail(code, message string) {
	a.settleGrants(1<<62, store.Stopped)
	a.state.Error, a.state.ErrorCode = message, code
	a.emit(KindError, MessageEvent{Code: code, Message: message})
	a.setState(Failed, message)
	a.session.log.add("error: " + message)
	if a.worker == nil {
		a.session.log.end()
	}
}

// interrupt leaves the session to be continued by a grant.
func (a *actor) interrupt(reason string) {
	a.fallBack()
	a.state.Interruption = reason
	a.setState(Interrupted, reason)
	a.session.log.add("interrupted: " + reason)
}

// delete aborts; the loop ends when the worker is gone.
func (a *actor) delete() {
	a.giveUp()
	a.deleting = true
	a.abort()
	a.afterCommit(func(err error) {
		if err != nil {
			a.kill()
		}
	})
}

// stop ends the worker so that the session can be continued by another server.
func (a *actor) stop() {
	a.giveUp()
	a.stopping = true
	a.endAfterCommit(worker.TypeStop)
}

// kill ends the worker now.
func (a *actor) kill() {
	if a.worker != nil {
		a.worker.Kill()
	}
}

// workContext lives as long as the present worker is wanted.
func (a *actor) workContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	a.endWork = cancel
	return ctx
}
