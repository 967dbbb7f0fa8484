package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/paths"
	"github.com/stepd/stepd/sessions/script"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// Options configure a Manager.
type Options struct {
	// DataDir holds stepd.db.
	DataDir string
	// CacheDir holds the caches, which several managers may share; empty: DataDir/cache.
	CacheDir string
	// Launcher starts workers: worker.Command for child processes, worker.Local to run in this process.
	Launcher worker.Launcher
	// Logger receives what operators should know; nil: nothing.
	Logger *zap.Logger
	// Memory is the number of bytes that all sessions on the CPU may use together; 0: what the engine says is available
	// while no session runs.
	Memory int64
	// Scripts are the commands that jobs may start; nil: whatever they name, for jobs that come from the operator.
	Scripts *script.Allow
	// Limit is where all files and folders of jobs have to be; nil: anywhere.
	Limit *paths.Limit
	// AbortGrace is how long an aborted worker may take to finish its step and checkpoint; then it gets SIGTERM, and
	// KillGrace later SIGKILL. Zero: 2 minutes and 10 seconds.
	AbortGrace time.Duration
	KillGrace  time.Duration
	// Now is the clock of events; nil: time.Now.
	Now func() time.Time

	retry time.Duration            // pause between attempts to store what has to be stored; zero: 1 second
	fault func(point string) error // of the store, in tests
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
	// Queue names a queue, whose sessions run one at a time in the order of their creation, each until it has ended;
	// empty: none. Sessions of a queue need nobody to look after them: their budget counts from step 0, whatever they
	// resume from, and after the end of the server or of a worker they go on by themselves from the last checkpoint.
	Queue string
}

// claim is what a session that is being created will use.
type claim struct{ runDir, queue string }

// Manager owns all sessions of a data folder.
type Manager struct {
	options Options
	store   *store.Store
	memory  memoryPool
	queues  queues
	unlock  func() // of the data folder

	creating sync.WaitGroup // sessions that are reserved
	actors   sync.WaitGroup // of all sessions

	mu         sync.Mutex
	sessions   []*Session        // live, in the order of creation
	leaving    map[*Session]bool // deleted, with a worker that is still ending
	reserved   map[string]claim  // by id, while they are created
	unreadable map[string]bool   // ids of sessions in the store that could not be loaded
	lastSeq    int64
	closed     bool          // no session and no command is taken any more
	ended      bool          // no event follows any more
	last       []store.Event // committed since closed, for readers that the end of the store overtakes
	lastFrom   int64         // lastSeq when closed
	changed    chan struct{} // closed, and replaced, by news
}

// Create makes a session and returns when it is durable, before its worker is ready. Errors: *job.Invalid, ErrExists,
// ErrBadID, ErrBadGrant, ErrRunFolderBusy, ErrClosed.
func (m *Manager) Create(ctx context.Context, request CreateRequest) (*Session, error) {
	if request.ID == "" {
		request.ID = newKey()
	}
	switch {
	case !validID(request.ID):
		return nil, fmt.Errorf("%w: use 1 to 256 printable characters", ErrBadID)
	case request.Grant < 0:
		return nil, fmt.Errorf("%w, not %d", ErrBadGrant, request.Grant)
	}
	if err := request.Job.Check(); err != nil {
		return nil, err
	}
	if err := request.Job.CheckPaths(m.options.Limit.Check); err != nil {
		return nil, err
	}
	copied, err := request.Job.Clone()
	if err != nil {
		return nil, err
	}
	if copied.Output, err = filepath.Abs(copied.Output); err != nil {
		return nil, fmt.Errorf("output folder: %w", err)
	}
	if err := m.reserve(request, copied.RunDir()); err != nil {
		return nil, err
	}
	defer m.unreserve(request.ID)
	_, missing := os.Lstat(copied.RunDir())
	s, err := m.create(ctx, request, copied)
	if err != nil {
		if missing != nil {
			_ = os.Remove(copied.RunDir()) // which spares a folder that is not empty
		}
		return nil, err
	}
	m.add(s)
	return s, nil
}

// newKey returns 32 random hexadecimal digits.
func newKey() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// validID keeps ids printable; they are compared byte by byte and never become paths.
func validID(id string) bool {
	return id != "" && len(id) <= 256 && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
}

// reserve claims id and run folder while the session is created, for which Close waits. Sessions of one queue may share a run folder.
func (m *Manager) reserve(request CreateRequest, runDir string) error {
	id := request.ID
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if _, busy := m.reserved[id]; busy || m.unreadable[id] || m.findLocked(id) != nil {
		return fmt.Errorf("session %q: %w", id, ErrExists)
	}
	for other, claim := range m.reserved {
		if claim.runDir == runDir && (request.Queue == "" || claim.queue != request.Queue) {
			return busyFolder(runDir, other)
		}
	}
	for _, s := range m.sessions {
		if s.job.RunDir() == runDir && !s.Snapshot().Finished() && (request.Queue == "" || s.queue != request.Queue) {
			return busyFolder(runDir, s.id)
		}
	}
	m.reserved[id] = claim{runDir: runDir, queue: request.Queue}
	m.creating.Add(1)
	return nil
}

func busyFolder(dir, id string) error {
	return fmt.Errorf("%w: session %q writes to %s; abort or delete it, or choose another name", ErrRunFolderBusy, id, dir)
}

func (m *Manager) unreserve(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.reserved, id)
	m.creating.Done()
}

// create makes the run folder and writes the session's rows.
func (m *Manager) create(ctx context.Context, request CreateRequest, j *job.Job) (*Session, error) {
	if err := prepareRunDir(j.RunDir()); err != nil {
		return nil, err
	}
	now := m.now()
	key := newKey()
	fixed := static{Job: j, Labels: request.Labels, Queue: request.Queue}
	fixedJSON, err := json.Marshal(fixed)
	if err != nil {
		return nil, fmt.Errorf("write job as JSON: %w", err)
	}
	s := newSession(m, key, fixed, Snapshot{ID: request.ID, Name: j.Name, MaxSteps: j.MaxSteps, Steps: j.Steps, End: j.End(),
		RunDir: j.RunDir(), Created: now, Updated: now}, nil)
	a := s.actor
	a.emit(KindCreated, CreatedEvent{Name: j.Name, RunDir: j.RunDir(), Steps: j.Steps, MaxSteps: j.MaxSteps})
	a.state.State = Initializing
	a.emit(KindState, StateEvent{To: Initializing, Reason: "created"})
	for _, warning := range j.Warnings {
		a.warn(warning)
	}
	if request.Grant > 0 {
		a.addGrant(GrantRequest{Steps: request.Grant})
	}
	if position := m.queues.join(s); position > 0 {
		a.wait(position)
	} else {
		a.startWorker()
	}
	if err := m.insert(ctx, s, fixedJSON); err != nil {
		m.queues.leave(s)
		s.log.close(true)
		return nil, err
	}
	return s, nil
}

// insert writes the first rows of a session whose actor does not run yet.
func (m *Manager) insert(ctx context.Context, s *Session, fixed []byte) error {
	a := s.actor
	record, err := json.Marshal(a.state)
	if err != nil {
		return fmt.Errorf("write session as JSON: %w", err)
	}
	a.change.update.Session = s.key
	row := store.Session{Key: s.key, ID: s.id, Created: a.state.Created, RunDir: s.job.RunDir(), Static: fixed, Record: record}
	events, err := m.store.Create(ctx, row, a.change.update)
	if err != nil {
		return err
	}
	// What is left of the change, starting the worker, follows when the actor runs. So do the news, for who hears of a
	// session has to find it.
	a.afterCommit(func(error) { m.committed(events) })
	a.change.update, a.change.dirty = store.Update{}, false
	s.publish(a.state, append([]store.Grant(nil), a.grants...))
	return nil
}

// add makes a session visible and lets it run.
func (m *Manager) add(s *Session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = append(m.sessions, s)
	m.actors.Go(func() {
		s.actor.commit()
		s.actor.loop()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.leaving, s)
	})
}

// Session returns the live session with this id, or an error that is ErrNotFound.
func (m *Manager) Session(id string) (*Session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.findLocked(id); s != nil {
		return s, nil
	}
	return nil, notFound(id)
}

func (m *Manager) findLocked(id string) *Session {
	for _, s := range m.sessions {
		if s.id == id {
			return s
		}
	}
	return nil
}

// Sessions returns all live sessions in the order of their creation.
func (m *Manager) Sessions() []*Session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*Session{}, m.sessions...)
}

// Delete forgets a session at once, so that its id can be used again, aborts it when it is alive, and waits for its
// worker until ctx ends. Files stay. A context that ends is not an error: the abort goes on.
func (m *Manager) Delete(ctx context.Context, id string) error {
	s, err := m.Session(id)
	if err != nil {
		return err
	}
	// From here on the deletion happens whatever becomes of the request.
	if err := m.store.MarkDeleted(context.WithoutCancel(ctx), s.key); err != nil {
		return err
	}
	if !m.remove(s) {
		return notFound(id)
	}
	s.leave()
	s.log.end()
	go s.actor.post(s.actor.delete)
	select {
	case <-s.actor.done:
	case <-ctx.Done():
	}
	return nil
}

// remove tells whether the session was still there.
func (m *Manager) remove(s *Session) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, other := range m.sessions {
		if other == s {
			m.sessions = append(m.sessions[:i:i], m.sessions[i+1:]...)
			m.leaving[s] = true
			return true
		}
	}
	return false
}

// Close stops every worker at the end of its step, with a checkpoint, and closes the store. Sessions that were alive are
// Interrupted when the data folder is opened again. When ctx ends, workers are killed.
func (m *Manager) Close(ctx context.Context) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed, m.lastFrom = true, m.lastSeq
	m.mu.Unlock()
	m.creating.Wait()
	m.stopAll(ctx)
	m.mu.Lock()
	m.ended = true
	m.notifyLocked()
	m.mu.Unlock()
	err := m.store.Close()
	m.unlock()
	return err
}

// stopAll returns when no session has a worker and an actor any more.
func (m *Manager) stopAll(ctx context.Context) {
	m.mu.Lock()
	sessions := append([]*Session{}, m.sessions...)
	for s := range m.leaving {
		sessions = append(sessions, s)
	}
	m.mu.Unlock()
	for _, s := range sessions {
		s.actor.post(s.actor.stop)
	}
	ended := make(chan struct{})
	go func() {
		m.actors.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		for _, s := range sessions {
			s.actor.post(s.actor.kill)
		}
		<-ended
	}
}

func (m *Manager) logPath(key string) string {
	return filepath.Join(m.options.DataDir, "logs", key+".log")
}

func (m *Manager) cacheDir() string {
	if m.options.CacheDir != "" {
		return m.options.CacheDir
	}
	return filepath.Join(m.options.DataDir, "cache")
}

// prepareRunDir tells at once, with a *job.Invalid, when a run could not write its files.
func prepareRunDir(dir string) error {
	err := checkpoint.MakeFolder(checkpoint.OS{}, dir)
	if err == nil {
		var probe *os.File
		if probe, err = os.CreateTemp(dir, "tmp-"); err == nil {
			err = errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("prepare run folder: %w", err)
	}
	return &job.Invalid{Problems: []job.Problem{{Field: "output",
		Message: fmt.Sprintf("the run folder %s cannot be written (%v); name another folder, or give the server's user the right to write there", dir, err)}}}
}

// prepareDataDir makes the data folder this manager's own.
func prepareDataDir(dir string) error {
	if dir == "" {
		return errors.New("data folder is not set")
	}
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = checkpoint.MakeFolder(checkpoint.OS{}, dir) // to sync it
	}
	if err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	return nil
}
