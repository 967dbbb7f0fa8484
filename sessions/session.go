package sessions

import (
	"context"

	"github.com/stepd/stepd/sessions/job"
)

// Session is one training. All methods may be called from any goroutine.
type Session struct{}

// ID is the label chosen at creation.
func (s *Session) ID() string { return "" }

// Job is what the session trains; do not change it.
func (s *Session) Job() *job.Job { return nil }

// Labels are those of the CreateRequest; do not change them.
func (s *Session) Labels() map[string]string { return nil }

// Snapshot never waits.
func (s *Session) Snapshot() Snapshot { return Snapshot{} }

// Wait returns the first snapshot for which done is true, or the latest one and the error of ctx. A deleted session
// ends the wait with ErrNotFound.
func (s *Session) Wait(ctx context.Context, done func(Snapshot) bool) (Snapshot, error) {
	return Snapshot{}, nil
}

// WaitReady waits until the session is no longer Initializing.
func (s *Session) WaitReady(ctx context.Context) (Snapshot, error) { return Snapshot{}, nil }

// GrantRequest asks for more steps.
type GrantRequest struct {
	// Steps to add to the budget, positive; clipped so that the budget stays within MaxSteps.
	Steps int64
	// Key makes the request idempotent: a repeated key adds nothing and refers to the first grant. Empty: none.
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
	// number of the grant within the session
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
// checkpoint. Errors: ErrBadGrant, ErrClosed, ErrNotFound (deleted).
func (s *Session) Grant(ctx context.Context, request GrantRequest) (Grant, error) {
	return Grant{}, nil
}

// WaitGrant waits until the grant is used up, the session stops, or ctx ends (TimedOut, no error).
func (s *Session) WaitGrant(ctx context.Context, grant Grant) GrantResult { return GrantResult{} }

// Abort asks the session to stop at the end of its step, with a checkpoint, and returns when the request is durable.
// It ends in a terminal state within the graces of Options whatever the worker does. Repeating it changes nothing.
func (s *Session) Abort(ctx context.Context) error { return nil }

// RequestCheckpoint asks for a checkpoint at the end of the current step; an event of KindCheckpoint follows. When the
// newest checkpoint is of the current step already, nothing more is written. Errors: ErrFinished, ErrNotRunning.
func (s *Session) RequestCheckpoint(ctx context.Context) error { return nil }

// RequestSample asks for the job's validation pictures at the end of the current step. Errors: ErrFinished, ErrNotRunning.
func (s *Session) RequestSample(ctx context.Context) error { return nil }

// Checkpoints lists the durable checkpoints, oldest first.
func (s *Session) Checkpoints(ctx context.Context) ([]Checkpoint, error) { return nil, nil }

// Events returns up to limit events with an index above after, without waiting.
func (s *Session) Events(ctx context.Context, after int64, limit int) ([]Event, error) {
	return nil, nil
}

// Subscribe returns a reader of the session's events with an index above after.
func (s *Session) Subscribe(after int64) *Feed { return nil }

// Logs returns the newest limit lines of the log (0: all that are kept, 2000).
func (s *Session) Logs(limit int) []string { return nil }

// StreamLogs returns a reader that gets the kept lines and then new ones as they come.
func (s *Session) StreamLogs() *LogReader { return nil }
