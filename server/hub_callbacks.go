package server

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/stepd/stepd/sessions"
)

// hubPage is how many events the hub reads at a time together with callbacks.
const hubPage = 256

// mostCalls bounds the callbacks that wait for the hub's next round.
const mostCalls = 256

// call is a callback that waits for its place among the events.
type call struct {
	name   string
	form   map[string]any
	placed chan error // takes one
}

// post puts a callback among the events and returns when it has its place, which its form gets as "id".
func (h *hub) post(ctx context.Context, name string, form map[string]any) error {
	c := call{name: name, form: form, placed: make(chan error, 1)}
	h.mu.Lock()
	full := len(h.calls) == mostCalls
	if !full {
		h.calls = append(h.calls, c)
	}
	if h.wake != nil {
		h.wake()
	}
	h.mu.Unlock()
	if full {
		return failure(http.StatusServiceUnavailable, "%d callbacks wait already; send fewer at a time", mostCalls)
	}
	select {
	case err := <-c.placed:
		return err
	case <-ctx.Done():
		return failure(http.StatusServiceUnavailable, "the callback got no place among the events in time; send it again")
	}
}

// news waits for events behind a Seq, or for callbacks. Callbacks get their Seqs before the events are read: so all events
// before them have been read then, unless there are more than a page of them.
func (h *hub) news(ctx context.Context, after int64) ([]sessions.Event, error) {
	wait, stop := context.WithCancel(ctx)
	defer stop()
	h.mu.Lock()
	h.wake = stop
	waiting := len(h.calls)+len(h.placed) > 0
	h.mu.Unlock()
	var events []sessions.Event
	var err error
	if !waiting {
		events, err = h.manager.Subscribe(after).Next(wait)
		if woken := wait.Err() != nil && ctx.Err() == nil; err != nil && !woken {
			return nil, err
		}
	}
	if h.place(ctx); len(h.placed) == 0 {
		return events, nil
	}
	return h.manager.Events(ctx, after, hubPage)
}

// place gives the callbacks that have come their Seqs.
func (h *hub) place(ctx context.Context) {
	h.mu.Lock()
	calls := h.calls
	h.calls = nil
	h.mu.Unlock()
	if len(calls) == 0 {
		return
	}
	last, err := h.manager.TakeSeqs(ctx, len(calls))
	for i, c := range calls {
		if err == nil {
			seq := last - int64(len(calls)-1-i)
			c.form["id"] = seq
			h.placed = append(h.placed, entry{seq: seq, name: c.name, data: encodeObject(c.form, Payload{})})
		}
		c.placed <- err
	}
}

// settle takes the callbacks that belong before the events behind upTo; all of them, when there are no more events yet.
func (h *hub) settle(upTo int64, all bool) (settled []entry) {
	rest := slices.IndexFunc(h.placed, func(e entry) bool { return !all && e.seq > upTo })
	if rest < 0 {
		rest = len(h.placed)
	}
	settled, h.placed = h.placed[:rest:rest], h.placed[rest:]
	return settled
}

// inOrder sorts entries by their place.
func inOrder(entries []entry) {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
}
