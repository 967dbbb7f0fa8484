package sessions

import "github.com/stepd/stepd/sessions/store"

// Key is unique for ever, unlike the id, which is free again when the session is deleted.
func (s *Session) Key() string { return s.key }

// Deliveries is where package notify remembers which events the receivers of a session have got.
func (m *Manager) Deliveries() *store.Deliveries { return m.store.Deliveries() }

// LastSeq is the Seq of the newest event of all sessions, 0 before the first: the place from which to Subscribe to what
// is still to come.
func (m *Manager) LastSeq() int64 {
	newest, _, _ := m.newest()
	return newest
}
