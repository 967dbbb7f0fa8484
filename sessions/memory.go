package sessions

import (
	"context"
	"fmt"
	"sync"

	"github.com/stepd/stepd/sessions/engine"
)

// memoryPool lends the memory of each device to sessions, first come first served, so that a large session is not
// overtaken for ever by small ones. What a device has is either set or measured. A measure is too low when something else
// was using memory; so nobody is refused by it, and a session that is alone is always admitted: it measures again itself.
type memoryPool struct {
	limit int64 // for "cpu"; 0: measured

	mu      sync.Mutex
	devices map[string]*deviceMemory
}

type deviceMemory struct {
	capacity int64
	measured bool
	used     int64
	queue    []*memoryRequest
}

type memoryRequest struct {
	bytes     int64
	available int64         // when it was planned
	admitted  chan struct{} // closed when the bytes are lent
}

// acquire waits until the plan's memory is free and lends it until release is called. A plan above the limit is refused.
func (p *memoryPool) acquire(ctx context.Context, device string, plan engine.Plan) (release func(), err error) {
	p.mu.Lock()
	d := p.deviceLocked(device, plan)
	if !d.measured && plan.Total > d.capacity {
		p.mu.Unlock()
		return nil, engine.Errorf(engine.OutOfMemory, "the run needs %v of %s memory, but sessions may use %v together; "+
			"lower resolution, batch size or rank, or give the server more memory", engine.Bytes(plan.Total), device, engine.Bytes(d.capacity))
	}
	request := &memoryRequest{bytes: plan.Total, available: plan.Available, admitted: make(chan struct{})}
	d.queue = append(d.queue, request)
	d.admitLocked()
	p.mu.Unlock()
	var once sync.Once
	release = func() { once.Do(func() { p.release(d, request) }) }
	select {
	case <-request.admitted:
		return release, nil
	case <-ctx.Done():
		release()
		return nil, fmt.Errorf("wait for %s memory: %w", device, ctx.Err())
	}
}

// deviceLocked takes over what a plan says of the device. While sessions use it, plans find less than there is.
func (p *memoryPool) deviceLocked(name string, plan engine.Plan) *deviceMemory {
	if p.devices == nil {
		p.devices = map[string]*deviceMemory{}
	}
	d := p.devices[name]
	if d == nil {
		d = &deviceMemory{}
		p.devices[name] = d
	}
	switch {
	case p.limit > 0 && (name == "cpu" || name == ""):
		d.capacity = p.limit
	case d.used == 0:
		d.measured, d.capacity = true, plan.Available
	default:
		d.measured, d.capacity = true, max(d.capacity, plan.Available)
	}
	return d
}

func (d *deviceMemory) admitLocked() {
	for len(d.queue) > 0 {
		next := d.queue[0]
		if d.measured && d.used == 0 {
			d.capacity = max(next.available, next.bytes)
		}
		if d.used+next.bytes > d.capacity {
			return
		}
		d.used += next.bytes
		close(next.admitted)
		d.queue = d.queue[1:]
	}
}

// release gives lent memory back, or leaves the queue.
func (p *memoryPool) release(d *deviceMemory, request *memoryRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-request.admitted:
		d.used -= request.bytes
	default:
		for i, queued := range d.queue {
			if queued == request {
				d.queue = append(d.queue[:i], d.queue[i+1:]...)
				break
			}
		}
	}
	d.admitLocked()
}
