package sessions

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/run"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// actor owns the state of a session. Everything below is used by its goroutine only, but inbox and done.
type actor struct {
	session *Session
	inbox   chan func()   // commands; unbuffered, so that what is accepted is run
	done    chan struct{} // closed when the goroutine has ended

	state  Snapshot
	grants []store.Grant
	change change
	// blocked is why news of the worker cannot be stored. They stay in change, no more are taken, and commands are refused
	// until they can: a full disk pauses a training.
	blocked error
	retry   *time.Timer // of what is blocked

	worker    *worker.Worker
	starting  bool // a worker is being started
	ready     *run.Ready
	endWork   context.CancelFunc // ends waits on behalf of the worker
	release   func()             // gives its memory back
	deadline  *time.Timer        // of the abort ladder
	killing   bool               // the next deadline kills
	stopping  bool               // the manager closes
	deleting  bool
	outcome   run.Outcome
	setback   string // the error of a worker that another one can mend
	fruitless int    // workers in a row that ended without a new checkpoint
	lastStage time.Time
	keptEnd   State // that the run folder tells
}

// change is what the next commit makes durable.
type change struct {
	update store.Update
	dirty  bool
	// fromWorker: messages of the worker are among what changed, and cannot be had again.
	fromWorker bool
	after      []func(err error)
}

func newActor(s *Session, state Snapshot, grants []store.Grant) *actor {
	return &actor{session: s, inbox: make(chan func()), done: make(chan struct{}), state: state, grants: grants,
		deadline: stoppedTimer(), retry: stoppedTimer()}
}

func stoppedTimer() *time.Timer {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return timer
}

// batch bounds how many messages of a worker share one commit.
const batch = 256

// loop serves commands and messages until the session is deleted or the manager closes, and no worker is left.
func (a *actor) loop() {
	defer close(a.done)
	for !a.finished() {
		var messages <-chan worker.Message
		if a.worker != nil && a.blocked == nil {
			messages = a.worker.Messages
		}
		select {
		case command := <-a.inbox:
			command()
		case m, alive := <-messages:
			a.handleAll(m, alive, messages)
		case <-a.deadline.C:
			a.escalate()
		case <-a.retry.C:
		}
		a.commit()
		a.leaveQueue()
	}
	a.leaveQueue()
	a.session.leave()
	a.session.log.close(a.deleting)
	if a.deleting {
		a.session.manager.queues.leave(a.session)           // its deletion is durable, whatever could not be stored after that
		forgetOrigin(a.session.job.RunDir(), a.session.key) // now that no worker follows for which it would be written
		if err := a.session.manager.store.Purge(context.Background(), a.session.key); err != nil {
			a.logger().Warn("purge deleted session", zap.Error(err))
		}
	}
}

func (a *actor) finished() bool {
	return (a.stopping || a.deleting) && a.worker == nil && !a.starting
}

// handleAll takes what is there already along, so that fast steps share commits.
func (a *actor) handleAll(m worker.Message, alive bool, messages <-chan worker.Message) {
	a.change.fromWorker = true
	for handled := 1; ; handled++ {
		if !alive {
			a.workerEnded()
			return
		}
		a.handle(m)
		if handled == batch {
			return
		}
		select {
		case m, alive = <-messages:
		default:
			return
		}
	}
}

// emit adds an event to the next commit.
func (a *actor) emit(kind Kind, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		// Only a value that JSON cannot express, such as a loss that is not finite, gets here.
		text, _ = json.Marshal(MessageEvent{Message: fmt.Sprintf("%s event cannot be written: %v", kind, err)})
	}
	a.state.LastEvent++
	a.change.dirty = true
	a.change.update.Events = append(a.change.update.Events, store.Event{ID: a.session.id, Index: a.state.LastEvent,
		Time: a.session.manager.now(), Kind: string(kind), Data: text})
}

// setState makes a transition of the table; others are defects and are refused.
func (a *actor) setState(to State, reason string) {
	if err := checkTransition(a.state.State, to); err != nil {
		a.logger().Error("refused", zap.Error(err), zap.String("reason", reason))
		return
	}
	from := a.state.State
	a.state.State = to
	a.state.Stage, a.state.QueuePosition = StageEvent{}, 0
	a.emit(KindState, StateEvent{From: from, To: to, Reason: reason, Completed: a.state.Completed, Allowed: a.state.Allowed})
}

// afterCommit runs f after the next commit, with its error.
func (a *actor) afterCommit(f func(err error)) { a.change.after = append(a.change.after, f) }

// commit writes what changed, publishes it, and then lets replies and messages go.
func (a *actor) commit() {
	var err error
	if a.change.dirty {
		err = a.write(a.change.update)
	}
	if err != nil && a.change.fromWorker && !a.stopping && !a.deleting {
		a.block(err)
		return
	}
	pending := a.change
	a.change, a.blocked = change{}, nil
	if err == nil {
		a.session.publish(a.state, append([]store.Grant(nil), a.grants...))
	} else {
		a.takeBack(err)
	}
	for _, f := range pending.after {
		f(err)
	}
	if err != nil {
		a.recoverFrom()
	}
}

// writeAttempts of one commit; the store waits for locks itself.
const writeAttempts = 3

func (a *actor) write(update store.Update) error {
	a.state.Updated = a.session.manager.now()
	record, err := json.Marshal(a.state)
	if err != nil {
		return fmt.Errorf("write session as JSON: %w", err)
	}
	update.Session, update.Record = a.session.key, record
	a.keepEnd()
	var events []store.Event
	for range writeAttempts {
		if events, err = a.session.manager.store.Apply(context.Background(), update); err == nil {
			a.session.recent.add(events, a.state.State.Terminal())
			a.session.manager.committed(events)
			return nil
		}
	}
	return err
}

// block keeps what cannot be stored for later. Readers see what is durable, and that the session waits.
func (a *actor) block(err error) {
	if a.blocked == nil {
		a.logger().Error("session state cannot be stored; its training waits", zap.Error(err))
		a.warn(fmt.Sprintf("the index could not be written, and training waited until it could: %v", err))
		view := a.session.view()
		view.snapshot.Stage = StageEvent{Stage: "waiting_for_index"}
		a.session.publish(view.snapshot, view.grants)
	}
	a.blocked = err
	a.retry.Reset(a.session.manager.options.retry)
}

// giveUp stops waiting for the store, because the session has to end.
func (a *actor) giveUp() {
	if a.blocked == nil {
		return
	}
	a.takeBack(a.blocked)
	for _, f := range a.change.after {
		f(a.blocked)
	}
	a.change, a.blocked = change{}, nil
}

// takeBack goes back to what is durable: a command has then not happened.
func (a *actor) takeBack(err error) {
	a.logger().Error("session state cannot be stored", zap.Error(err))
	a.session.log.add("session state cannot be stored: " + err.Error())
	view := a.session.view()
	a.state, a.grants = view.snapshot, append([]store.Grant(nil), view.grants...)
	if a.worker != nil {
		a.state.PID = a.worker.PID()
	}
}

// recoverFrom deals with a worker whose start could not be stored.
func (a *actor) recoverFrom() {
	switch {
	case a.worker != nil || a.starting || a.stopping || !a.state.State.Active() && !a.goesOn():
	case a.waiting():
		time.AfterFunc(a.session.manager.options.retry, func() { a.post(a.moveUp) })
	default:
		// There is no worker, but the store says that there is one; that has to be tried until it can be mended.
		a.withoutWorker("session state could not be stored")
		time.AfterFunc(a.session.manager.options.retry, func() { a.post(func() {}) })
	}
}

func (a *actor) logger() *zap.Logger {
	return a.session.manager.options.Logger.With(zap.String("session", a.session.id))
}

// setGrant replaces a grant in the next commit.
func (a *actor) setGrant(g store.Grant) {
	if int(g.Number) > len(a.grants) {
		a.grants = append(a.grants, g)
	} else {
		a.grants[g.Number-1] = g
	}
	a.change.dirty = true
	a.change.update.Grants = append(a.change.update.Grants, g)
}

// settleGrants gives pending grants up to a step their outcome.
func (a *actor) settleGrants(step int64, outcome string) {
	for _, g := range a.grants {
		if g.Outcome == store.Pending && g.Target <= step {
			g.Outcome = outcome
			a.setGrant(g)
			if outcome == store.Consumed {
				a.emit(KindBudgetExhausted, BudgetEvent{Granted: g.Steps, Step: a.state.Completed})
			}
		}
	}
}

// rebase moves the session to the step that training really continues from; what is granted beyond stays granted, up to
// the cap. The budget of a session of a queue counts from step 0 and stays where it is.
func (a *actor) rebase(step int64) {
	shift := step - a.state.Completed
	a.state.Completed = step
	a.change.dirty = true
	if a.session.queue != "" {
		a.state.Allowed = max(a.state.Allowed, step)
		return
	}
	a.state.Allowed = a.capped(a.state.Allowed+shift, step)
	if shift == 0 {
		return
	}
	for _, g := range a.grants {
		if g.Outcome == store.Pending {
			g.Target = a.capped(g.Target+shift, step)
			a.setGrant(g)
		}
	}
}

// capped is a step within the cap, but not below least.
func (a *actor) capped(step, least int64) int64 {
	if a.state.MaxSteps != nil {
		step = min(step, *a.state.MaxSteps)
	}
	return max(step, least)
}

// fallBack goes back to the last checkpoint. What was granted beyond is taken back, except in a queue, where the session
// goes on by itself.
func (a *actor) fallBack() {
	a.state.Completed = a.state.LastCheckpointStep()
	a.change.dirty = true
	if a.session.queue == "" {
		a.settleGrants(1<<62, store.Stopped)
		a.state.Allowed = a.state.Completed
	}
}

// recordCheckpoint makes a checkpoint known in the next commit.
func (a *actor) recordCheckpoint(c Checkpoint) {
	data, err := json.Marshal(c)
	if err != nil {
		a.logger().Error("write checkpoint as JSON", zap.Error(err))
		return
	}
	a.change.dirty = true
	a.change.update.Checkpoints = append(a.change.update.Checkpoints, store.Checkpoint{Step: c.Step, Data: data})
}
