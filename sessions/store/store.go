// Package store keeps the index of sessions in SQLite: sessions, grants, events and checkpoints. What a transaction
// wrote survives a power cut. The server is the only writer; checkpoint folders remain the truth about training state,
// and the store can be rebuilt from them.
//
// A Store may be used by any number of goroutines; writes are serialised.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"sort"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver
)

//go:embed migrations/*.sql
var migrations embed.FS

// FileName of the database in the data folder.
const FileName = "stepd.db"

// ErrNewer says that the database was written by a newer program.
var ErrNewer = errors.New("newer database")

// Store is an open database.
type Store struct {
	// Fault, when set before the first write, is called at the points of every transaction. It is for tests: it ends the
	// process there, or the transaction with its error.
	Fault func(point string) error

	writer  *sql.DB // one connection
	readers *sql.DB
}

// Points of a transaction.
const (
	PointBegin     = "begin"
	PointCommit    = "commit"    // everything is written, nothing is durable
	PointCommitted = "committed" // everything is durable, and nobody knows it; an error changes nothing
)

func (s *Store) at(point string) error {
	if s.Fault == nil {
		return nil
	}
	return s.Fault(point)
}

// Session is the row of a session. What it holds beyond names is opaque to the store.
type Session struct {
	Key     string // unique for ever; ID is unique among rows that are not deleted
	ID      string
	Created time.Time
	Deleted bool
	RunDir  string
	// Static never changes after creation; Record is replaced by every Update.
	Static []byte
	Record []byte
}

// Event is one row of the event log.
type Event struct {
	Seq     int64 // over all sessions; set by the store
	Session string
	ID      string // of the session, for readers; not stored twice
	Index   int64
	Time    time.Time
	Kind    string
	Data    []byte
}

// Outcomes of a grant.
const (
	Pending  = "pending"
	Consumed = "consumed"
	Stopped  = "stopped"
)

// Grant is a durable increase of a budget.
type Grant struct {
	Number  int64
	Key     string // empty: none
	Steps   int64
	Target  int64 // step at which it is used up
	Outcome string
}

// Checkpoint is one durable checkpoint.
type Checkpoint struct {
	Step int64
	Data []byte
}

// Update is everything one transaction changes in one session.
type Update struct {
	Session string
	// Record replaces the session's; nil leaves it.
	Record []byte
	Events []Event
	// Grants are inserted or, by number, replaced.
	Grants []Grant
	// Checkpoints are inserted or, by step, replaced; Removed steps are deleted first.
	Checkpoints []Checkpoint
	Removed     []int64
}

// Open opens or creates the database in dir and brings its tables up to date. A database of a newer program is refused.
func Open(ctx context.Context, dir string) (*Store, error) {
	path := filepath.Join(dir, FileName)
	s := &Store{}
	var err error
	// WAL with synchronous=FULL: a commit is on disk before it is answered.
	if s.writer, err = open(path, "rwc"); err != nil {
		return nil, err
	}
	s.writer.SetMaxOpenConns(1)
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", path, err), s.writer.Close())
	}
	if s.readers, err = open(path, "ro"); err != nil {
		return nil, errors.Join(err, s.writer.Close())
	}
	s.readers.SetMaxOpenConns(4)
	return s, nil
}

func open(path, mode string) (*sql.DB, error) {
	query := url.Values{"mode": {mode}, "_pragma": {"busy_timeout(5000)", "synchronous(FULL)", "foreign_keys(ON)"}}
	if mode != "ro" {
		query["_pragma"] = append(query["_pragma"], "journal_mode(WAL)")
		query.Set("_txlock", "immediate")
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

// migrate runs the numbered files that the database has not seen; user_version counts them.
func (s *Store) migrate(ctx context.Context) error {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	sort.Strings(names)
	var version int
	if err := s.writer.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > len(names) {
		return fmt.Errorf("%w: the database has version %d, this program knows %d; use a newer stepd", ErrNewer, version, len(names))
	}
	for i := version; i < len(names); i++ {
		script, err := migrations.ReadFile(names[i])
		if err != nil {
			return err
		}
		err = s.transact(ctx, func(tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, string(script)+fmt.Sprintf("\nPRAGMA user_version = %d;", i+1))
			return err
		})
		if err != nil {
			return fmt.Errorf("migrate to version %d: %w", i+1, err)
		}
	}
	return nil
}

// Check reads the whole database and returns what is wrong with it.
func (s *Store) Check(ctx context.Context) error {
	var result string
	if err := s.readers.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&result); err != nil {
		return fmt.Errorf("check store: %w", err)
	}
	if result != "ok" {
		return fmt.Errorf("check store: %s", result)
	}
	return nil
}

// Close closes the database.
func (s *Store) Close() error { return errors.Join(s.readers.Close(), s.writer.Close()) }

func (s *Store) transact(ctx context.Context, change func(tx *sql.Tx) error) error {
	if err := s.at(PointBegin); err != nil {
		return err
	}
	tx, err := s.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = change(tx); err == nil {
		err = s.at(PointCommit)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_ = s.at(PointCommitted)
	return nil
}
