package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// Readers that take nothing do not delay steps, and miss nothing when they read at last.
func TestSlowReaders(t *testing.T) {
	a := serve(t, Options{})
	var stalled []net.Conn
	for _, path := range []string{"/api/training/events/stream", "/api/events"} {
		for range 10 {
			conn, err := net.Dial("tcp", a.address)
			require.NoError(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", path)
			require.NoError(t, err)
			stalled = append(stalled, conn)
		}
	}
	socket := a.dial()
	const steps = 3000 // whose messages are more than the buffers of a connection hold
	id := a.start(a.fastPath(options{"max_train_steps": fmt.Sprint(steps), "validation_disable": "true", "checkpoint_step_interval": "100000"}))
	a.waitState(id, sessions.Completed)
	events := a.eventsSince("").Events
	require.Greater(t, len(events), steps)
	for i, f := range frames(t, socket, len(events)) {
		require.Equal(t, events[i], f.Event, "the event table makes up for what is no longer in memory")
	}
	assert.Len(t, stalled, 20)
}

// The state is told from memory, so that asking often costs nothing.
func TestStatusIsCheap(t *testing.T) {
	a := serveWith(t, Options{}, &fake.Engine{OnStep: func(ctx context.Context, _ int64) error {
		select {
		case <-time.After(time.Millisecond): // a training that takes time, and leaves some to others
		case <-ctx.Done():
		}
		return nil
	}})
	id := a.start(a.fastPath(options{"max_train_steps": "100000", "validation_disable": "true"}))
	a.wait(id, func(s sessions.Snapshot) bool { return s.Completed > 10 })
	// What a request takes depends on the machine's other work, so it is compared with one that tells next to nothing.
	times := map[string][]time.Duration{}
	for range 300 {
		for _, path := range []string{"/api/version", "/api/training/status"} {
			began := time.Now()
			response, err := http.Get("http://" + a.address + path)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			times[path] = append(times[path], time.Since(began))
		}
	}
	median := func(path string) time.Duration { return slices.Sorted(slices.Values(times[path]))[len(times[path])/2] }
	plain, status := median("/api/version"), median("/api/training/status")
	t.Logf("median %v, of a plain answer %v", status, plain)
	assert.Less(t, status, 20*plain)
}
