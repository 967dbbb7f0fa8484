package sessions

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: no live session has this id.
	ErrNotFound = errors.New("unknown session")
	// ErrExists: a live session has this id already.
	ErrExists = errors.New("session already exists")
	// ErrRunFolderBusy: another session that is not finished writes into the same run folder.
	ErrRunFolderBusy = errors.New("run folder is in use")
	// ErrFinished: the session is in a terminal state.
	ErrFinished = errors.New("session is finished")
	// ErrNotRunning: no worker is there to take the request; grant steps first.
	ErrNotRunning = errors.New("session has no worker")
	// ErrClosed: the manager is shutting down.
	ErrClosed = errors.New("server is shutting down")
	// ErrBadGrant: the number of steps is not positive, or adding it would overflow.
	ErrBadGrant = errors.New("steps must be positive")
	// ErrKeyReused: the key of a grant was sent before with another number of steps.
	ErrKeyReused = errors.New("the key belongs to another grant")
	// ErrBadID: the id cannot be used for a session.
	ErrBadID = errors.New("session id cannot be used")
)

func notFound(id string) error { return fmt.Errorf("%w %q", ErrNotFound, id) }
