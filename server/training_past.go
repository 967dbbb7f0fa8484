package server

import (
	"context"
	"sync"
)

const (
	// pastPages are kept of what was read from the store, since readers that replay a job from its beginning want the same
	// pages.
	pastPages = 32
	// pastEvents is the length of a page.
	pastEvents = 256
)

// past are events that are no longer in the hub's memory.
type past struct {
	mu    sync.Mutex // also held while a page is read, so that a crowd reads it once
	pages map[int64]page
	order []int64 // of the pages, oldest first
}

// page holds the events after a Seq up to another.
type page struct {
	entries []entry
	upTo    int64
}

// read returns events after a Seq that is below the hub's floor, and the Seq up to which there are none left out.
func (p *past) read(ctx context.Context, h *hub, after int64) ([]entry, int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.pages[after]; ok {
		return known.entries, known.upTo, nil
	}
	found := page{upTo: h.recent()} // when what there was has been deleted
	events, err := h.manager.Events(ctx, after, pastEvents)
	if err != nil {
		return nil, after, err
	}
	if len(events) > 0 {
		found.upTo = events[len(events)-1].Seq
	}
	for _, e := range events {
		if session, err := h.manager.Session(e.Session); err == nil && isTraining(session) {
			found.entries = append(found.entries, encodeEntry(session, e))
		}
	}
	p.keep(after, found)
	return found.entries, found.upTo, nil
}

func (p *past) keep(after int64, found page) {
	if p.pages == nil {
		p.pages = map[int64]page{}
	}
	if len(p.order) == pastPages {
		delete(p.pages, p.order[0])
		p.order = p.order[1:]
	}
	p.pages[after] = found
	p.order = append(p.order, after)
}
