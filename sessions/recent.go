package sessions

import (
	"sync"

	"github.com/stepd/stepd/sessions/store"
)

// recentEvents is how many of the newest events of a session at work are kept in memory. Readers that keep up find theirs
// there, so that a crowd of them costs the database nothing.
const recentEvents = 32

// recent are the newest events of a session, without gap; empty at first, and when the session has ended.
type recent struct {
	mu   sync.Mutex
	rows []store.Event // never changed, only replaced
}

// add takes events that are durable.
func (r *recent) add(rows []store.Event, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(append([]store.Event(nil), r.rows...), rows...)
	r.rows = all[max(len(all)-recentEvents, 0):]
	if ended {
		r.rows = nil
	}
}

// since returns up to limit events with an index above after, when they are there.
func (r *recent) since(after int64, limit int) (rows []store.Event, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rows) == 0 || after < r.rows[0].Index-1 {
		return nil, false
	}
	skip := min(after-r.rows[0].Index+1, int64(len(r.rows)))
	rows = r.rows[skip:]
	return rows[:min(len(rows), limit)], true
}
