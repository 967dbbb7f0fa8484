package run

import (
	"context"
	"sync"
)

// Control carries requests into a run. Its methods may be called from any goroutine and never wait.
type Control struct {
	mu      sync.Mutex
	pending requests
	allowed int64
	changed chan struct{} // closed, and replaced, by every request
	// watchers are told of requests before the method that makes them returns.
	watchers map[*watcher]bool
}

// requests are what a boundary has to serve.
type requests struct {
	abort      bool
	stop       bool
	checkpoint bool
	sample     bool
}

func (r requests) any() bool { return r != requests{} }

// NewControl returns a Control without requests and budget.
func NewControl() *Control {
	return &Control{changed: make(chan struct{}), watchers: map[*watcher]bool{}}
}

// Allow sets the step up to which the run may train. It never goes down.
func (c *Control) Allow(step int64) {
	c.request(func() { c.allowed = max(c.allowed, step) })
}

// Abort asks the run to end after the current step, with a checkpoint, for good.
func (c *Control) Abort() { c.request(func() { c.pending.abort = true }) }

// Stop asks the run to end after the current step, with a checkpoint, to be continued.
func (c *Control) Stop() { c.request(func() { c.pending.stop = true }) }

// RequestCheckpoint asks for a checkpoint after the current step.
func (c *Control) RequestCheckpoint() { c.request(func() { c.pending.checkpoint = true }) }

// RequestSample asks for validation pictures after the current step.
func (c *Control) RequestSample() { c.request(func() { c.pending.sample = true }) }

func (c *Control) request(set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	set()
	for w := range c.watchers {
		if w.ends() {
			w.cancel()
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

// budget is the step up to which the run may train.
func (c *Control) budget() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allowed
}

// take returns the requests to serve now. Abort and stop stay pending.
func (c *Control) take() requests {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.pending
	c.pending.checkpoint, c.pending.sample = false, false
	return taken
}

// answered drops the requests that work which begins now answers as well.
func (c *Control) answered(drop func(pending *requests)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	drop(&c.pending)
}

// ending tells whether the run has to end.
func (c *Control) ending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending.abort || c.pending.stop
}

// wait returns when there is a request or budget above step, or ctx ends.
func (c *Control) wait(ctx context.Context, step int64) error {
	return c.until(ctx, func() bool { return c.pending.any() || c.allowed > step })
}

func (c *Control) until(ctx context.Context, done func() bool) error {
	for {
		c.mu.Lock()
		changed, ok := c.changed, done()
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// onEnd returns a context that ends with an abort or a stop, for work that they cut short.
func (c *Control) onEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.derive(ctx, func() bool { return c.pending.abort || c.pending.stop })
}

// onRequest returns a context that ends with any request but more budget, for training.
func (c *Control) onRequest(ctx context.Context) (context.Context, context.CancelFunc) {
	return c.derive(ctx, func() bool { return c.pending.any() })
}

// watcher cuts work short as soon as a request that matters to it comes.
type watcher struct {
	ends   func() bool
	cancel context.CancelFunc
}

func (c *Control) derive(ctx context.Context, ends func() bool) (context.Context, context.CancelFunc) {
	derived, cancel := context.WithCancel(ctx)
	w := &watcher{ends: ends, cancel: cancel}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ends() {
		cancel()
	}
	c.watchers[w] = true
	return derived, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watchers, w)
	}
}
