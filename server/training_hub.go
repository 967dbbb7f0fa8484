package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
)

const (
	// recentEvents are kept in memory, without pictures; older ones are read from the store again.
	recentEvents = 1000
	// hubPause is the least time between two rounds of news, so that many readers of fast steps cost little.
	hubPause = 200 * time.Millisecond
	// backlog is how many events at once tell that there are more; the hub then does not pause.
	backlog = 128
	// strangerRounds is for how many rounds an event of an unknown session is waited for: one that is being created is not
	// in the manager's list yet, one that was deleted never will be.
	strangerRounds = 5
	// keptJobs is how many jobs the hub remembers before it forgets those that have ended or were deleted.
	keptJobs = 256
)

// hub reads the events of all training jobs once and encodes them once, for any number of readers. It also keeps what
// /status tells besides the snapshot.
type hub struct {
	manager *sessions.Manager
	log     *zap.Logger

	mu      sync.Mutex
	entries []entry // newest events, oldest first
	floor   int64   // Seq after which all events are in memory
	newest  int64   // Seq up to which events have been looked at
	jobs    map[string]*jobProgress
	changed chan struct{} // closed, and replaced, by news
	calls   []call        // callbacks without a place yet
	wake    func()        // ends the wait for events

	placed []entry // callbacks that are not told yet, by place; used by run only
	past   past
}

// entry is one event of a job, encoded.
type entry struct {
	seq   int64
	frame encoded // on /api/training/events/stream; without text it is not there
	name  string  // on /api/events
	data  encoded // on /api/events
}

// jobProgress is what is known about a job besides its snapshot.
type jobProgress struct {
	state  sessions.State // of the last transition that was looked at
	stages []stage        // in order of their beginning; emptied when steps begin
	peak   int64          // highest step ever reached; training may have fallen back behind it
}

func newHub(manager *sessions.Manager, log *zap.Logger) *hub {
	h := &hub{manager: manager, log: log, jobs: map[string]*jobProgress{}, changed: make(chan struct{})}
	h.newest = max(manager.LastSeq()-recentEvents, 0)
	h.floor = h.newest
	for _, s := range manager.Sessions() {
		now := s.Snapshot()
		if isTraining(s) && now.LastStep != nil && !now.Finished() {
			h.jobs[s.ID()] = &jobProgress{peak: max(now.Completed, now.LastStep.Step)}
		}
	}
	return h
}

// run follows the manager until ctx ends or the manager closes.
func (h *hub) run(ctx context.Context) {
	strange := 0
	for after := h.newest; ; {
		events, err := h.news(ctx, after)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return
		}
		taken, upTo := 0, after
		if err != nil {
			h.log.Warn("events cannot be read; trying again", zap.Error(err))
		} else {
			taken, upTo = h.take(after, events, strange < strangerRounds)
		}
		if strange++; upTo > after {
			after, strange = upTo, 0
		}
		if taken >= backlog {
			continue
		}
		select {
		case <-time.After(hubPause):
		case <-ctx.Done():
			return
		}
	}
}

// take encodes events and tells readers of them and of the callbacks between them. It returns how many events it has dealt
// with, and up to which Seq: it stops before an event of a session that is unknown, when patient.
func (h *hub) take(after int64, events []sessions.Event, patient bool) (count int, upTo int64) {
	var taken []entry
	upTo = after
	for _, e := range events {
		session, err := h.manager.Session(e.Session)
		if err != nil && patient {
			break
		}
		count++
		if err == nil && isTraining(session) {
			h.track(e)
			taken = append(taken, encodeEntry(session, e))
		}
	}
	if count > 0 {
		upTo = events[count-1].Seq
	}
	if calls := h.settle(upTo, count == len(events) && count < hubPage); len(calls) > 0 {
		upTo = max(upTo, calls[len(calls)-1].seq)
		taken = append(taken, calls...)
		inOrder(taken)
	}
	if upTo == after {
		return 0, after
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, taken...)
	if surplus := len(h.entries) - recentEvents; surplus > 0 {
		h.floor = h.entries[surplus-1].seq
		h.entries = slices.Delete(h.entries, 0, surplus)
	}
	h.newest = upTo
	close(h.changed)
	h.changed = make(chan struct{})
	return count, upTo
}

// encodeEntry writes an event in both forms.
func encodeEntry(s *sessions.Session, e sessions.Event) entry {
	p, _ := describeEvent(s, e)
	name, form := globalForm(s, e, p)
	return entry{seq: e.Seq, frame: encodeObject(map[string]any{"job_id": s.ID(), "event": p.Body}, p), name: name, data: encodeObject(form, p)}
}

// next returns the events after a Seq, at most a few hundred, and the Seq up to which there are none left out. It waits for
// at least one.
func (h *hub) next(ctx context.Context, after int64) ([]entry, int64, error) {
	for {
		found, upTo, changed, missing := h.since(after)
		if missing {
			var err error
			if found, upTo, err = h.past.read(ctx, h, after); err != nil {
				return nil, after, err
			}
		}
		found, upTo = untilPicture(found, upTo)
		after = upTo
		switch {
		case len(found) > 0:
			return found, upTo, nil
		case missing:
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, after, ctx.Err()
		}
	}
}

// untilPicture cuts a batch behind its first picture, so that readers have time for each.
func untilPicture(found []entry, upTo int64) ([]entry, int64) {
	for i, e := range found[:max(len(found)-1, 0)] {
		if e.frame.picture != "" {
			return found[:i+1], e.seq
		}
	}
	return found, upTo
}

// since returns what is in memory; missing tells that older events are wanted.
func (h *hub) since(after int64) (found []entry, upTo int64, changed <-chan struct{}, missing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if after < h.floor {
		return nil, after, nil, true
	}
	first, _ := slices.BinarySearchFunc(h.entries, after+1, func(e entry, seq int64) int { return cmp.Compare(e.seq, seq) })
	found = slices.Clone(h.entries[first:min(len(h.entries), first+backlog)])
	if first+len(found) < len(h.entries) {
		return found, found[len(found)-1].seq, h.changed, false
	}
	return found, max(after, h.newest), h.changed, false
}

// recent is a Seq after which there are at most recentEvents events.
func (h *hub) recent() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.floor
}

// track remembers what an event says about its job's progress.
func (h *hub) track(e sessions.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	job := h.jobLocked(e.Session)
	switch e.Kind {
	case sessions.KindState:
		var change sessions.StateEvent
		if json.Unmarshal(e.Data, &change) == nil {
			job.state, job.stages = change.To, nil
		}
	case sessions.KindStage:
		var now sessions.StageEvent
		if json.Unmarshal(e.Data, &now) == nil {
			job.begin(describeStage(now))
		}
	case sessions.KindStep:
		var step sessions.StepEvent
		if json.Unmarshal(e.Data, &step) == nil {
			job.peak, job.stages = max(job.peak, step.Step), nil
		}
	}
}

func (h *hub) jobLocked(id string) *jobProgress {
	job, known := h.jobs[id]
	if !known {
		if len(h.jobs) >= keptJobs {
			maps.DeleteFunc(h.jobs, func(id string, _ *jobProgress) bool { return h.isOver(id) })
		}
		job = &jobProgress{}
		h.jobs[id] = job
	}
	return job
}

// isOver tells whether a job has ended or was deleted; what is known besides its snapshot matters no more.
func (h *hub) isOver(id string) bool {
	session, err := h.manager.Session(id)
	return err != nil || session.Snapshot().Finished()
}

// begin adds news of a stage. Stages follow each other, so those before it are done.
func (j *jobProgress) begin(now stage) {
	stages := []stage{} // a new list: readers may have the old one
	for _, earlier := range j.stages {
		if earlier.Key != now.Key {
			earlier.Status, earlier.Percent, earlier.Current = stageCompleted, 100, earlier.Total
			stages = append(stages, earlier)
		}
	}
	j.stages = append(stages, now)
}

// of returns what is known about a job.
func (h *hub) of(now sessions.Snapshot) jobProgress {
	h.mu.Lock()
	defer h.mu.Unlock()
	job := h.jobLocked(now.ID)
	job.peak = max(job.peak, now.Completed)
	return *job
}

// tail is what is in memory, newest first.
func (h *hub) tail() []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	entries := slices.Clone(h.entries)
	slices.Reverse(entries)
	return entries
}
