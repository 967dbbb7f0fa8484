package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
)

// Session is one training. All methods may be called from any goroutine.
type Session struct {
	manager *Manager
	key     string // unique for ever; names the log file
	id      string
	job     *job.Job
	labels  map[string]string
	queue   string // "": none
	log     *logBuffer
	actor   *actor
	recent  recent

	mu   sync.Mutex
	last view
}

// view is what other goroutines see. Its slices are never changed, only replaced.
type view struct {
	snapshot Snapshot
	grants   []store.Grant
	gone     bool          // deleted, or the manager is closed
	changed  chan struct{} // closed when there is a newer view
}

func (s *Session) view() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *Session) publish(snapshot Snapshot, grants []store.Grant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.last.changed)
	s.last = view{snapshot: snapshot, grants: grants, gone: s.last.gone, changed: make(chan struct{})}
}

// leave ends every wait on the session.
func (s *Session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.gone {
		close(s.last.changed)
		s.last.gone, s.last.changed = true, make(chan struct{})
	}
}

// ID is the label chosen at creation.
func (s *Session) ID() string { return s.id }

// Job is what the session trains; do not change it.
func (s *Session) Job() *job.Job { return s.job }

// Labels are those of the CreateRequest; do not change them.
func (s *Session) Labels() map[string]string { return s.labels }

// Snapshot never waits.
func (s *Session) Snapshot() Snapshot { return s.view().snapshot }

// Wait returns the first snapshot for which done is true, or the latest one and the error of ctx. A deleted session
// ends the wait with ErrNotFound.
func (s *Session) Wait(ctx context.Context, done func(Snapshot) bool) (Snapshot, error) {
	for {
		view := s.view()
		switch {
		case done(view.snapshot):
			return view.snapshot, nil
		case view.gone:
			return view.snapshot, s.goneError()
		}
		select {
		case <-view.changed:
		case <-ctx.Done():
			return view.snapshot, ctx.Err()
		}
	}
}

// WaitReady waits until the session is no longer Initializing.
func (s *Session) WaitReady(ctx context.Context) (Snapshot, error) {
	return s.Wait(ctx, func(snapshot Snapshot) bool { return snapshot.State != Initializing })
}

func (s *Session) goneError() error {
	if s.manager.isClosed() {
		return ErrClosed
	}
	return notFound(s.id)
}

// GrantRequest asks for more steps.
type GrantRequest struct {
	// Steps to add to the budget, positive; clipped so that the budget stays within MaxSteps.
	Steps int64
	// Key makes the request idempotent: a repeated key with the same Steps adds nothing and refers to the first grant.
	// Empty: none.
	Key string
}

// Grant is a durable increase of the budget.
type Grant struct {
	// Granted steps, after clipping; 0 when the session is finished or the cap is reached.
	Granted int64
	// AlreadyFinished: the session was in a terminal state; nothing was granted.
	AlreadyFinished bool
	// Repeated: the key was used before.
	Repeated bool
	// number of the grant within the session; 0: nothing was granted
	number int64
}

// GrantResult tells how waiting for a grant ended.
type GrantResult struct {
	// Consumed: the granted steps are trained and in a checkpoint, or the session completed.
	Consumed bool
	// TimedOut: the context ended first; training goes on.
	TimedOut bool
	// Finished: the session reached a terminal state during the wait.
	Finished bool
	// Stopped: the session was aborted, failed, was interrupted or deleted before the steps were trained.
	Stopped bool
	// Snapshot at the end of the wait.
	Snapshot Snapshot
}

// Grant adds steps to the budget and returns when that is durable. An Interrupted session starts again from its last
// checkpoint. Errors: ErrBadGrant, ErrKeyReused, ErrClosed, ErrNotFound (deleted).
func (s *Session) Grant(ctx context.Context, request GrantRequest) (Grant, error) {
	if request.Steps <= 0 || request.Steps > math.MaxInt64/4 {
		return Grant{}, fmt.Errorf("%w, not %d", ErrBadGrant, request.Steps)
	}
	var grant Grant
	err := s.actor.do(ctx, func() error {
		var err error
		grant, err = s.actor.grant(request)
		return err
	})
	return grant, err
}

// WaitGrant waits until the grant is used up, the session stops, or ctx ends (TimedOut, no error).
func (s *Session) WaitGrant(ctx context.Context, grant Grant) GrantResult {
	for {
		view := s.view()
		result := GrantResult{Snapshot: view.snapshot, Finished: view.snapshot.Finished()}
		if grant.number == 0 {
			return result
		}
		switch view.grants[grant.number-1].Outcome {
		case store.Consumed:
			result.Consumed = true
			return result
		case store.Stopped:
			result.Stopped = true
			return result
		}
		if view.gone || view.snapshot.State == Aborting {
			result.Stopped = true
			return result
		}
		select {
		case <-view.changed:
		case <-ctx.Done():
			result.TimedOut = true
			return result
		}
	}
}

// Abort asks the session to stop at the end of its step, with a checkpoint, and returns when the request is durable.
// It ends in a terminal state within the graces of Options whatever the worker does. Repeating it changes nothing.
func (s *Session) Abort(ctx context.Context) error {
	return s.actor.do(ctx, func() error {
		s.actor.abort()
		return nil
	})
}

// Cancel is an Abort that the snapshot remembers as the user's change of mind.
func (s *Session) Cancel(ctx context.Context) error {
	return s.actor.do(ctx, func() error {
		s.actor.cancel()
		return nil
	})
}

// RequestCheckpoint asks for a checkpoint at the end of the current step; an event of KindCheckpoint follows. When the
// newest checkpoint is of the current step already, nothing more is written. Errors: ErrFinished, ErrNotRunning.
func (s *Session) RequestCheckpoint(ctx context.Context) error {
	return s.actor.do(ctx, s.actor.makeCheckpoint)
}

// RequestSample asks for the job's validation pictures at the end of the current step. Errors: ErrFinished, ErrNotRunning.
func (s *Session) RequestSample(ctx context.Context) error {
	return s.actor.do(ctx, s.actor.makeSample)
}

// Checkpoints lists the durable checkpoints, oldest first.
func (s *Session) Checkpoints(ctx context.Context) ([]Checkpoint, error) {
	rows, err := s.manager.store.Checkpoints(ctx, s.key)
	if err != nil {
		return nil, err
	}
	checkpoints := make([]Checkpoint, len(rows))
	for i, row := range rows {
		if err := json.Unmarshal(row.Data, &checkpoints[i]); err != nil {
			return nil, fmt.Errorf("read stored checkpoint: %w", err)
		}
	}
	return checkpoints, nil
}

// Logs returns the newest limit lines of the log (0: all that are kept, 2000).
func (s *Session) Logs(limit int) []string { return s.log.tail(limit) }

// StreamLogs returns a reader that gets the kept lines and then new ones as they come.
func (s *Session) StreamLogs() *LogReader { return s.StreamLogsAfter(0) }

// StreamLogsAfter leaves out the lines up to a LogReader.Number.
func (s *Session) StreamLogsAfter(number int64) *LogReader {
	return &LogReader{log: s.log, next: number + 1}
}

// static is what never changes after creation, as it is stored.
type static struct {
	Job    *job.Job          `json:"job"`
	Labels map[string]string `json:"labels,omitempty"`
	Queue  string            `json:"queue,omitempty"`
}

// newSession makes a session around a snapshot that is stored, or about to be.
func newSession(m *Manager, key string, fixed static, snapshot Snapshot, grants []store.Grant) *Session {
	s := &Session{manager: m, key: key, id: snapshot.ID, job: fixed.Job, labels: fixed.Labels, queue: fixed.Queue}
	s.last = view{snapshot: snapshot, grants: grants, changed: make(chan struct{})}
	var err error
	if s.log, err = openLog(m.logPath(key)); err != nil {
		m.options.Logger.Warn("the log is not complete", zap.String("session", s.id), zap.Error(err))
	}
	if snapshot.Finished() {
		s.log.end()
	}
	s.actor = newActor(s, snapshot, grants)
	return s
}

// do runs f in the goroutine that owns the session and returns when the changes that f made are durable.
func (a *actor) do(ctx context.Context, f func() error) error {
	result := make(chan error, 1)
	command := func() {
		if a.blocked != nil {
			result <- a.blocked
			return
		}
		err := f()
		a.afterCommit(func(commitErr error) { result <- errors.Join(err, commitErr) })
	}
	select {
	case a.inbox <- command:
	case <-a.done:
		return a.session.goneError()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post runs f in the goroutine that owns the session. It returns false, and f never runs, when that has ended.
func (a *actor) post(f func()) bool {
	select {
	case a.inbox <- f:
		return true
	case <-a.done:
		return false
	}
}

func (m *Manager) now() time.Time { return m.options.Now().UTC() }
