package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Sessions returns all rows in the order of their creation, deleted ones that are not purged included.
func (s *Store) Sessions(ctx context.Context) ([]Session, error) {
	return query(ctx, s.readers, "list sessions", func(rows *sql.Rows) (Session, error) {
		var session Session
		var created int64
		err := rows.Scan(&session.Key, &session.ID, &created, &session.Deleted, &session.RunDir, &session.Static, &session.Record)
		session.Created = time.Unix(0, created).UTC()
		return session, err
	}, "SELECT key, id, created, deleted, run_dir, static, record FROM sessions ORDER BY created, rowid")
}

// Grants returns the grants of a session by number.
func (s *Store) Grants(ctx context.Context, session string) ([]Grant, error) {
	return query(ctx, s.readers, "list grants", func(rows *sql.Rows) (Grant, error) {
		var g Grant
		var key sql.NullString
		err := rows.Scan(&g.Number, &key, &g.Steps, &g.Target, &g.Outcome)
		g.Key = key.String
		return g, err
	}, "SELECT number, key, steps, target, outcome FROM grants WHERE session = ? ORDER BY number", session)
}

// Checkpoints returns the checkpoints of a session by step.
func (s *Store) Checkpoints(ctx context.Context, session string) ([]Checkpoint, error) {
	return query(ctx, s.readers, "list checkpoints", func(rows *sql.Rows) (Checkpoint, error) {
		var c Checkpoint
		err := rows.Scan(&c.Step, &c.Data)
		return c, err
	}, "SELECT step, data FROM checkpoints WHERE session = ? ORDER BY step", session)
}

const eventColumns = "SELECT e.seq, e.session, s.id, e.idx, e.time, e.kind, e.data FROM events e JOIN sessions s ON s.key = e.session "

// Events returns up to limit events of a session with an index above after.
func (s *Store) Events(ctx context.Context, session string, after int64, limit int) ([]Event, error) {
	return query(ctx, s.readers, "read events", scanEvent,
		eventColumns+"WHERE e.session = ? AND e.idx > ? ORDER BY e.idx LIMIT ?", session, after, limit)
}

// AllEvents returns up to limit events of all live sessions with a Seq above after.
func (s *Store) AllEvents(ctx context.Context, after int64, limit int) ([]Event, error) {
	return query(ctx, s.readers, "read events", scanEvent,
		eventColumns+"WHERE e.seq > ? AND s.deleted = 0 ORDER BY e.seq LIMIT ?", after, limit)
}

// LastIndex is the index of the newest event of a session, 0 before the first.
func (s *Store) LastIndex(ctx context.Context, session string) (int64, error) {
	var index int64
	err := s.readers.QueryRowContext(ctx, "SELECT coalesce(max(idx), 0) FROM events WHERE session = ?", session).Scan(&index)
	if err != nil {
		return 0, fmt.Errorf("read newest event: %w", err)
	}
	return index, nil
}

func scanEvent(rows *sql.Rows) (Event, error) {
	var e Event
	var at int64
	err := rows.Scan(&e.Seq, &e.Session, &e.ID, &e.Index, &at, &e.Kind, &e.Data)
	e.Time = time.Unix(0, at).UTC()
	return e, err
}

func query[T any](ctx context.Context, db *sql.DB, what string, scan func(*sql.Rows) (T, error), text string, args ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		list = append(list, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return list, nil
}

// LastSeq is the newest Seq that there ever was, 0 before the first: also one of a deleted event, or of TakeSeqs.
func (s *Store) LastSeq(ctx context.Context) (int64, error) {
	var seq int64
	if err := s.readers.QueryRowContext(ctx, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'").Scan(&seq); err != nil {
		return 0, fmt.Errorf("read newest event: %w", err)
	}
	return seq, nil
}
