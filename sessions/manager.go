package sessions

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/job"
)

// Options configure a Manager.
type Options struct {
	// DataDir holds stepd.db and the caches.
	DataDir string
	// Logger receives what operators should know; nil: nothing.
	Logger *zap.Logger
	// Memory is the number of bytes that all sessions on the CPU may use together; 0: what is available at start.
	Memory int64
	// AbortGrace is how long an aborted worker may take to finish its step and checkpoint; then it gets SIGTERM, and
	// KillGrace later SIGKILL. Zero: 2 minutes and 10 seconds.
	AbortGrace time.Duration
	KillGrace  time.Duration
	// Now is the clock of events; nil: time.Now.
	Now func() time.Time
}

// CreateRequest asks for a session.
type CreateRequest struct {
	// ID is the wanted id; empty: 32 random hexadecimal digits. It is a label, never part of a path.
	ID  string
	Job *job.Job
	// Grant is the number of steps granted with the creation; 0: none.
	Grant int64
	// Labels are kept for the dialect that created the session (its own configuration, display names).
	Labels map[string]string
}

// Manager owns all sessions of a data folder.
type Manager struct{}

// Open reads the data folder, brings sessions that were alive when the last server ended back as Interrupted, and
// returns. Sessions whose old worker is still finishing its step appear as Initializing until it is done.
func Open(ctx context.Context, options Options) (*Manager, error) { return nil, ErrClosed }

// Create makes a session and returns when it is durable, before its worker is ready. Errors: *job.Invalid, ErrExists,
// ErrBadID, ErrBadGrant, ErrRunFolderBusy, ErrClosed.
func (m *Manager) Create(ctx context.Context, request CreateRequest) (*Session, error) {
	return nil, ErrClosed
}

// Session returns the live session with this id, or an error that is ErrNotFound.
func (m *Manager) Session(id string) (*Session, error) { return nil, notFound(id) }

// Sessions returns all live sessions in the order of their creation.
func (m *Manager) Sessions() []*Session { return nil }

// Delete forgets a session at once, so that its id can be used again, aborts it when it is alive, and waits for its
// worker until ctx ends. Files stay. A context that ends is not an error: the abort goes on.
func (m *Manager) Delete(ctx context.Context, id string) error { return notFound(id) }

// Subscribe returns a reader of the events of all sessions with a Seq above after.
func (m *Manager) Subscribe(after int64) *Feed { return nil }

// Close stops every worker at the end of its step, with a checkpoint, and closes the store. Sessions that were alive
// are Interrupted when the data folder is opened again. When ctx ends, workers are killed.
func (m *Manager) Close(ctx context.Context) error { return nil }
