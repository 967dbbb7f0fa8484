package sessions

import (
	"cmp"
	"slices"
	"sync"
)

// queues lets the sessions of one queue run one at a time, in the order in which they joined. The first of a queue has
// the turn until it leaves.
type queues struct {
	mu    sync.Mutex
	lines map[string][]*Session
}

// join puts a session at the end of its queue and returns its position: 0 has the turn.
func (q *queues) join(s *Session) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.queue == "" {
		return 0
	}
	if q.lines == nil {
		q.lines = map[string][]*Session{}
	}
	q.lines[s.queue] = append(q.lines[s.queue], s)
	return len(q.lines[s.queue]) - 1
}

// restore brings back the queues of a server that is gone: those at work first.
func (q *queues) restore(sessions []*Session) {
	sessions = slices.Clone(sessions)
	slices.SortStableFunc(sessions, func(a, b *Session) int {
		return cmp.Compare(a.Snapshot().QueuePosition, b.Snapshot().QueuePosition)
	})
	for _, s := range sessions {
		if !s.Snapshot().Finished() {
			q.join(s)
		}
	}
}

// position of a session that has joined; -1 when it has left.
func (q *queues) position(s *Session) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Index(q.lines[s.queue], s)
}

// leave lets those behind the session move up. It may be called again.
func (q *queues) leave(s *Session) {
	q.mu.Lock()
	defer q.mu.Unlock()
	place := slices.Index(q.lines[s.queue], s)
	if place < 0 {
		return
	}
	line := slices.Delete(slices.Clone(q.lines[s.queue]), place, place+1)
	q.lines[s.queue] = line
	if len(line) == 0 {
		delete(q.lines, s.queue)
	}
	for _, behind := range line[place:] {
		go behind.actor.post(behind.actor.moveUp)
	}
}

// wait makes the session one that waits for its turn. It runs in the actor's goroutine, as everything below.
func (a *actor) wait(position int) {
	a.state.QueuePosition = position
	a.setStage(StageEvent{Stage: "queued"})
}

// waiting tells whether the session has not had its turn yet.
func (a *actor) waiting() bool { return a.state.QueuePosition > 0 }

// moveUp takes over the session's place in its queue, and starts the worker at the first one.
func (a *actor) moveUp() {
	position := a.session.manager.queues.position(a.session)
	if !a.waiting() || a.stopping || position < 0 || position == a.state.QueuePosition {
		return
	}
	a.state.QueuePosition = position
	a.change.dirty = true
	if position == 0 {
		a.state.Stage = StageEvent{}
		a.startWorker()
	}
}

// leaveQueue gives the turn to the next when the session has ended and its worker is gone, and both are durable: else a
// restart would find two sessions at work.
func (a *actor) leaveQueue() {
	if a.blocked != nil || a.change.dirty {
		return
	}
	if a.session.queue != "" && a.worker == nil && !a.starting && (a.deleting || a.state.State.Terminal()) {
		a.session.manager.queues.leave(a.session)
	}
}

// goesOn tells whether the session continues by itself when it has lost its worker: in a queue, and when nothing is left
// to grant, because only the end itself is missing.
func (a *actor) goesOn() bool {
	atEnd := a.state.LastCheckpoint != nil && a.state.LastCheckpoint.Step >= a.state.End
	return !a.state.State.Terminal() && (a.session.queue != "" || atEnd)
}

// fruitlessLimit is how many workers in a row may end without a new checkpoint before a session of a queue is given up.
const fruitlessLimit = 3

// goOn continues a session that lost its worker and that nobody will grant steps again.
func (a *actor) goOn(reason string) {
	if a.fruitless >= fruitlessLimit {
		a.fail("worker", reason)
		return
	}
	if a.state.State != Interrupted {
		a.interrupt(reason)
	}
	a.state.Interruption = ""
	a.setState(Initializing, "goes on from the last checkpoint")
	a.startWorker()
}
