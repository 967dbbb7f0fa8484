package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Create inserts a session together with its first update.
func (s *Store) Create(ctx context.Context, session Session, update Update) ([]Event, error) {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO sessions (key, id, created, run_dir, static, record) VALUES (?, ?, ?, ?, ?, ?)",
			session.Key, session.ID, session.Created.UnixNano(), session.RunDir, session.Static, session.Record)
		if err != nil {
			return err
		}
		return write(ctx, tx, &update)
	})
	if err != nil {
		return nil, fmt.Errorf("store new session %q: %w", session.ID, err)
	}
	return update.Events, nil
}

// Apply writes one update. It returns the events with their Seq.
func (s *Store) Apply(ctx context.Context, update Update) ([]Event, error) {
	err := s.transact(ctx, func(tx *sql.Tx) error { return write(ctx, tx, &update) })
	if err != nil {
		return nil, fmt.Errorf("store change of session: %w", err)
	}
	return update.Events, nil
}

// TakeSeqs takes the next count Seqs out of the sequence of events and returns the last of them. All events that are stored
// have lower ones, and no event will ever have one of these.
func (s *Store) TakeSeqs(ctx context.Context, count int) (last int64, err error) {
	err = s.transact(ctx, func(tx *sql.Tx) error {
		const begin = "INSERT INTO sqlite_sequence (name, seq) SELECT 'events', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'events')"
		if _, err := tx.ExecContext(ctx, begin); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'events' RETURNING seq", count).Scan(&last)
	})
	if err != nil {
		return 0, fmt.Errorf("take numbers of events: %w", err)
	}
	return last, nil
}

func write(ctx context.Context, tx *sql.Tx, u *Update) error {
	if u.Record != nil {
		if _, err := tx.ExecContext(ctx, "UPDATE sessions SET record = ? WHERE key = ?", u.Record, u.Session); err != nil {
			return err
		}
	}
	for _, step := range u.Removed {
		if _, err := tx.ExecContext(ctx, "DELETE FROM checkpoints WHERE session = ? AND step = ?", u.Session, step); err != nil {
			return err
		}
	}
	for _, c := range u.Checkpoints {
		_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO checkpoints (session, step, data) VALUES (?, ?, ?)", u.Session, c.Step, c.Data)
		if err != nil {
			return err
		}
	}
	for _, g := range u.Grants {
		key := sql.NullString{String: g.Key, Valid: g.Key != ""}
		_, err := tx.ExecContext(ctx, `INSERT INTO grants (session, number, key, steps, target, outcome) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT (session, number) DO UPDATE SET target = excluded.target, outcome = excluded.outcome`,
			u.Session, g.Number, key, g.Steps, g.Target, g.Outcome)
		if err != nil {
			return err
		}
	}
	return writeEvents(ctx, tx, u)
}

func writeEvents(ctx context.Context, tx *sql.Tx, u *Update) error {
	if len(u.Events) == 0 {
		return nil
	}
	insert, err := tx.PrepareContext(ctx, "INSERT INTO events (session, idx, time, kind, data) VALUES (?, ?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range u.Events {
		e := &u.Events[i]
		result, err := insert.ExecContext(ctx, u.Session, e.Index, e.Time.UnixNano(), e.Kind, e.Data)
		if err != nil {
			return err
		}
		if e.Seq, err = result.LastInsertId(); err != nil {
			return err
		}
		e.Session = u.Session
	}
	return nil
}

// MarkDeleted frees the id of a session; its rows stay until Purge.
func (s *Store) MarkDeleted(ctx context.Context, key string) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET deleted = 1 WHERE key = ?", key)
		return err
	})
	if err != nil {
		return fmt.Errorf("store deletion of session: %w", err)
	}
	return nil
}

// Purge removes a session and everything that belongs to it.
func (s *Store) Purge(ctx context.Context, key string) error {
	err := s.transact(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sessions WHERE key = ?", key)
		return err
	})
	if err != nil {
		return fmt.Errorf("purge session: %w", err)
	}
	return nil
}
