package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Deliveries is the part of a Store that remembers which events the receivers of a session have got. The events
// themselves are not copied.
type Deliveries struct{ store *Store }

// Deliveries returns that part.
func (s *Store) Deliveries() *Deliveries { return &Deliveries{s} }

// Delivery is how far one receiver of a session has got.
type Delivery struct {
	Session  string // its key
	Receiver int    // position in the session's list
	// Settled is the index of the last event that needs no further try.
	Settled int64
	// Failures counts the tries of the next event that failed, the first of them at Since; NextTry is zero for at once.
	Failures int
	Since    time.Time
	NextTry  time.Time
	// Problem is the latest failure.
	Problem string
	// Disabled: nothing more is sent.
	Disabled bool
}

// DeadLetter is an event that a receiver refused for good.
type DeadLetter struct {
	Session  string
	Receiver int
	Index    int64 // of the event
	Time     time.Time
	Problem  string
}

// List returns the deliveries of a session by receiver; receivers that have got nothing yet are not there.
func (d *Deliveries) List(ctx context.Context, session string) ([]Delivery, error) {
	return query(ctx, d.store.readers, "list deliveries", func(rows *sql.Rows) (Delivery, error) {
		item := Delivery{Session: session}
		var since, next int64
		err := rows.Scan(&item.Receiver, &item.Settled, &item.Failures, &since, &next, &item.Problem, &item.Disabled)
		item.Since, item.NextTry = fromNanos(since), fromNanos(next)
		return item, err
	}, "SELECT receiver, settled, failures, since, next_try, problem, disabled FROM deliveries WHERE session = ? ORDER BY receiver", session)
}

// DeadLetters returns up to limit dead letters of a session by receiver and event.
func (d *Deliveries) DeadLetters(ctx context.Context, session string, limit int) ([]DeadLetter, error) {
	return query(ctx, d.store.readers, "list dead letters", func(rows *sql.Rows) (DeadLetter, error) {
		item := DeadLetter{Session: session}
		var at int64
		err := rows.Scan(&item.Receiver, &item.Index, &at, &item.Problem)
		item.Time = fromNanos(at)
		return item, err
	}, "SELECT receiver, idx, time, problem FROM dead_letters WHERE session = ? ORDER BY receiver, idx LIMIT ?", session, limit)
}

// Save writes deliveries and the dead letters that they passed over, in one transaction. Rows of sessions that are gone
// are left out.
func (d *Deliveries) Save(ctx context.Context, deliveries []Delivery, letters []DeadLetter) error {
	const live = " WHERE EXISTS (SELECT 1 FROM sessions WHERE key = ?1)"
	err := d.store.transact(ctx, func(tx *sql.Tx) error {
		for _, l := range letters {
			_, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO dead_letters (session, receiver, idx, time, problem) SELECT ?1, ?2, ?3, ?4, ?5"+live,
				l.Session, l.Receiver, l.Index, nanos(l.Time), l.Problem)
			if err != nil {
				return err
			}
		}
		for _, item := range deliveries {
			_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO deliveries (session, receiver, settled, failures, since, next_try, problem, disabled)
				SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8`+live, item.Session, item.Receiver, item.Settled, item.Failures, nanos(item.Since),
				nanos(item.NextTry), item.Problem, item.Disabled)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store deliveries: %w", err)
	}
	return nil
}

// nanos and fromNanos keep the zero time apart from 1970.
func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
