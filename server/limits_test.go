package server

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fasthttp/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
)

func TestStreamsAreCounted(t *testing.T) {
	a := serve(t, Options{Limits: Limits{Streams: 2}})
	a.create("one")
	events := func() *http.Response {
		return a.open("GET", "/sessions/one/events", nil, "Accept", "text/event-stream")
	}
	first, second, third := events(), events(), events()
	assert.Equal(t, []int{200, 200, 503}, []int{first.StatusCode, second.StatusCode, third.StatusCode})
	socket, _, err := websocket.DefaultDialer.Dial("ws://"+a.address+"/api/training/events/stream", nil)
	require.NoError(t, err)
	_, _, err = socket.ReadMessage()
	assert.True(t, websocket.IsCloseError(err, websocket.CloseTryAgainLater), "%v", err)
	require.NoError(t, socket.Close())
	a.request("DELETE", "/sessions/one", nil) // which ends the streams
	readMessages(t, first.Body, func(message) bool { return false })
	readMessages(t, second.Body, func(message) bool { return false })
	require.Eventually(t, func() bool { return a.server.streams.Load() == 0 }, testTimeout, time.Millisecond)
}

// A reader that takes nothing is dropped, so that it cannot hold its place for ever.
func TestStalledReadersAreDropped(t *testing.T) {
	s := New(Options{Limits: Limits{Stall: 50 * time.Millisecond}})
	line := strings.Repeat("x", 1<<16)
	s.add(Route{Method: http.MethodGet, Path: "/endless", Access: Open, Handle: func(s *Server, c *fiber.Ctx) error {
		return stream(s, c, live[string]{media: mediaText, silence: stillHere,
			next:  func(ctx context.Context) ([]string, error) { return []string{line}, ctx.Err() },
			write: func(w *bufio.Writer, lines []string) { _, _ = w.WriteString(lines[0]) }})
	}})
	s.add(Route{Method: http.MethodGet, Path: "/large", Access: Open, Handle: func(s *Server, c *fiber.Ctx) error {
		return c.SendString(strings.Repeat(line, 1000))
	}})
	listeners, err := Listen([]string{"127.0.0.1:0"})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listeners) }()
	for _, path := range []string{"/endless", "/large"} {
		conn, err := net.Dial("tcp", listeners[0].Addr().String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		require.NoError(t, err)
		_, err = conn.Read(make([]byte, 1))
		require.NoError(t, err, "the answer has begun")
		require.Eventually(t, func() bool { return s.streams.Load() == 0 && s.app.Server().GetOpenConnectionsCount() == 0 },
			testTimeout, time.Millisecond, path)
		require.NoError(t, conn.Close())
	}
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, <-served)
}

func TestSessionsAreCounted(t *testing.T) {
	a := serve(t, Options{Limits: Limits{Sessions: 1}})
	a.create("one")
	r := a.request("POST", "/sessions", map[string]any{"sessionId": "two", "config": a.document("two")})
	assert.Equal(t, http.StatusTooManyRequests, r.status)
	assert.Contains(t, r.body, "abort or delete")
	read[status](t, a.request("POST", "/sessions/one/abort", nil), http.StatusAccepted)
	a.wait("one", sessions.Snapshot.Finished)
	a.create("two")
}
