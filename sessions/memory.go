package sessions

import (
	"context"
	"fmt"
	"sync"

	"github.com/stepd/stepd/sessions/engine"
)

// memoryPool lends the memory of each device to sessions, first come first served, so that a large session is not
// overtaken for ever by small ones.
type memoryPool struct {
	limit int64 // for "cpu"; 0: what the first plan says is available

	mu      sync.Mutex
	devices map[string]*deviceMemory
}

type deviceMemory struct {
	capacity int64
	used     int64
	queue    []*memoryRequest
}

type memoryRequest struct {
	bytes    int64
	admitted chan struct{} // closed when the bytes are lent
}

// acquire waits until the plan's memory is free and lends it until release is called. A plan that can never fit is
// refused.
func (p *memoryPool) acquire(ctx context.Context, device string, plan engine.Plan) (release func(), err error) {
	p.mu.Lock()
	d := p.deviceLocked(device, plan)
	if plan.Total > d.capacity {
		p.mu.Unlock()
		return nil, engine.Errorf(engine.OutOfMemory, "the run needs %v of %s memory, but sessions may use %v together; "+
			"lower resolution, batch size or rank, or give the server more memory", engine.Bytes(plan.Total), device, engine.Bytes(d.capacity))
	}
	request := &memoryRequest{bytes: plan.Total, admitted: make(chan struct{})}
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

// deviceLocked believes a plan's measure of what is available only while no session uses the device.
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
		d.capacity = plan.Available
	}
	return d
}

func (d *deviceMemory) admitLocked() {
	for len(d.queue) > 0 && d.used+d.queue[0].bytes <= d.capacity {
		d.used += d.queue[0].bytes
		close(d.queue[0].admitted)
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
