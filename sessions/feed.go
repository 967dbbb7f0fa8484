package sessions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/stepd/stepd/sessions/store"
)

// feedPage is the largest number of events that Next returns.
const feedPage = 256

// Feed reads events in order at the reader's own pace: a slow reader delays nobody and misses nothing.
type Feed struct {
	manager *Manager
	session string // key; empty: all
	after   int64
	// pending returns the position of the newest event, a channel that is closed when there may be a newer one, and
	// whether there never will be.
	pending func() (newest int64, changed <-chan struct{}, ended bool)
	read    func(ctx context.Context, after int64, limit int) ([]Event, error)
	// position of an event in this feed.
	position func(Event) int64
}

// Next waits for at least one event and returns those that are there, at most a few hundred. It returns io.EOF when the
// session is deleted or the manager closed and everything has been read, and the error of ctx when that ends.
func (f *Feed) Next(ctx context.Context) ([]Event, error) {
	for {
		newest, changed, ended := f.pending()
		if newest > f.after {
			events, err := f.read(ctx, f.after, feedPage)
			if err != nil && ctx.Err() == nil && errors.Is(err, ErrClosed) {
				events, err = f.remaining()
			}
			if err != nil {
				return nil, err
			}
			if len(events) > 0 {
				f.after = f.position(events[len(events)-1])
				return events, nil
			}
			// What there was belonged to sessions that were deleted meanwhile.
			f.after = newest
			continue
		}
		if ended {
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// remaining returns the last events of a manager whose store is closed, or io.EOF, also when the reader was so far behind
// that it would miss some.
func (f *Feed) remaining() ([]Event, error) {
	f.manager.mu.Lock()
	from := f.manager.lastFrom
	var rows []store.Event
	for _, row := range f.manager.last {
		switch {
		case f.session == "" && row.Seq > f.after:
			rows = append(rows, row)
		case f.session == row.Session && row.Index > f.after:
			if len(rows) == 0 {
				from = row.Index - 1
			}
			rows = append(rows, row)
		}
	}
	f.manager.mu.Unlock()
	if len(rows) == 0 || f.after < from {
		return nil, io.EOF
	}
	slices.SortFunc(rows, func(a, b store.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return f.manager.events(rows, nil)
}

// Events returns up to limit events with an index above after, without waiting.
func (s *Session) Events(ctx context.Context, after int64, limit int) ([]Event, error) {
	if rows, known := s.recent.since(after, limit); known {
		return s.manager.events(rows, nil)
	}
	rows, err := s.manager.store.Events(ctx, s.key, after, limit)
	return s.manager.events(rows, err)
}

// Subscribe returns a reader of the session's events with an index above after.
func (s *Session) Subscribe(after int64) *Feed {
	return &Feed{manager: s.manager, session: s.key, after: after, read: s.Events, position: func(e Event) int64 { return e.Index },
		pending: func() (int64, <-chan struct{}, bool) {
			view := s.view()
			if view.gone && !s.manager.isClosed() { // deleted
				return 0, view.changed, true
			}
			return view.snapshot.LastEvent, view.changed, view.gone
		}}
}

// Subscribe returns a reader of the events of all sessions with a Seq above after.
func (m *Manager) Subscribe(after int64) *Feed {
	return &Feed{manager: m, after: after, read: m.Events, position: func(e Event) int64 { return e.Seq }, pending: m.newest}
}

// Events returns up to limit events of all sessions with a Seq above after, without waiting.
func (m *Manager) Events(ctx context.Context, after int64, limit int) ([]Event, error) {
	rows, err := m.store.AllEvents(ctx, after, limit)
	return m.events(rows, err)
}

// newest is the newest Seq.
func (m *Manager) newest() (int64, <-chan struct{}, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastSeq, m.changed, m.ended
}

func (m *Manager) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// committed tells readers of all sessions that there is news.
func (m *Manager) committed(events []store.Event) {
	if len(events) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastSeq = max(m.lastSeq, events[len(events)-1].Seq)
	if m.closed {
		m.last = append(m.last, events...)
	}
	m.notifyLocked()
}

// TakeSeqs takes the next count Seqs, for what is told among the events and belongs to no session, and returns the last of
// them. All events with lower ones can be read when it returns.
func (m *Manager) TakeSeqs(ctx context.Context, count int) (int64, error) {
	last, err := m.store.TakeSeqs(ctx, count)
	if err != nil {
		if m.isClosed() {
			return 0, ErrClosed
		}
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastSeq = max(m.lastSeq, last)
	m.notifyLocked()
	return last, nil
}

func (m *Manager) notifyLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// events turns rows into events. A store that was closed during the read is ErrClosed.
func (m *Manager) events(rows []store.Event, err error) ([]Event, error) {
	if err != nil {
		if m.isClosed() {
			return nil, ErrClosed
		}
		return nil, err
	}
	events := make([]Event, len(rows))
	for i, row := range rows {
		events[i] = Event{Seq: row.Seq, Session: row.ID, Index: row.Index, Time: row.Time, Kind: Kind(row.Kind), Data: json.RawMessage(row.Data)}
	}
	return events, nil
}
