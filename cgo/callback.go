//go:build cgo && !nonative

package cgo

/*
#include <stddef.h>
#include <stdint.h>
*/
import "C"

import (
	"encoding/json"
	"sync"
	"unsafe"

	"github.com/mattn/go-pointer"

	"github.com/stepd/stepd/sessions/engine"
)

// token names a mailbox to C. Its memory belongs to C, so that the core may keep it; it is released once, after the session
// is destroyed. Releasing twice would free twice.
type token struct {
	memory unsafe.Pointer
	once   sync.Once
}

func newToken(m *mailbox) *token { return &token{memory: pointer.Save(m)} }

func (t *token) release() { t.once.Do(func() { pointer.Unref(t.memory) }) }

// message is one event, copied out of the core's memory.
type message struct {
	kind int32
	data []byte
}

const (
	kindStep     = 1
	kindProgress = 2
	kindPreview  = 3
)

// maxWaiting bounds what waits for a slow sink: beyond it, progress events are dropped. Other events are always kept.
const maxWaiting = 1024

// mailbox takes events from native threads without ever making them wait, and hands them to the sink from its own goroutine.
type mailbox struct {
	sink engine.Sink

	mu      sync.Mutex
	waiting []message
	busy    bool // the sink is being called
	closed  bool
	changed *sync.Cond
	done    chan struct{} // closed by pump when it has ended
}

func newMailbox(sink engine.Sink) *mailbox {
	m := &mailbox{sink: sink, done: make(chan struct{})}
	m.changed = sync.NewCond(&m.mu)
	go m.pump()
	return m
}

func (m *mailbox) put(msg message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || (msg.kind == kindProgress && len(m.waiting) >= maxWaiting) {
		return
	}
	m.waiting = append(m.waiting, msg)
	m.changed.Broadcast()
}

// pump delivers until the mailbox is closed and empty.
func (m *mailbox) pump() {
	defer close(m.done)
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		for len(m.waiting) == 0 {
			if m.closed {
				return
			}
			m.changed.Wait()
		}
		batch := m.waiting
		m.waiting, m.busy = nil, true
		m.mu.Unlock()
		for _, msg := range batch {
			deliver(m.sink, msg)
		}
		m.mu.Lock()
		m.busy = false
		m.changed.Broadcast()
	}
}

// drain waits until everything put so far has reached the sink.
func (m *mailbox) drain() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.waiting) > 0 || m.busy {
		m.changed.Wait()
	}
}

func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	m.changed.Broadcast()
	m.mu.Unlock()
	<-m.done
}

func deliver(sink engine.Sink, msg message) {
	switch msg.kind {
	case kindStep:
		var event engine.StepEvent
		if json.Unmarshal(msg.data, &event) == nil {
			sink.OnStep(event)
		}
	case kindProgress:
		var event engine.ProgressEvent
		if json.Unmarshal(msg.data, &event) == nil {
			sink.OnProgress(event)
		}
	case kindPreview:
		var event engine.PreviewEvent
		if json.Unmarshal(msg.data, &event) == nil {
			sink.OnPreview(event)
		}
	}
}

// stepd_go_event is what the core calls, from any of its threads. It copies and returns: no call back into C, no waiting.
//
//export stepd_go_event
func stepd_go_event(userData unsafe.Pointer, kind C.int32_t, data *C.char, size C.size_t) {
	defer func() { _ = recover() }() // a panic must not unwind through C
	m, ok := pointer.Restore(userData).(*mailbox)
	if !ok || m == nil {
		return
	}
	m.put(message{int32(kind), C.GoBytes(unsafe.Pointer(data), C.int(size))})
}
