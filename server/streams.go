package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

// heartbeat is the longest silence on an event stream, and the time after which a client that left is noticed.
const heartbeat = 10 * time.Second

// eventsPage is the most events of one answer that is not a stream.
const eventsPage = 1000

var getLogsSpec = Spec{
	Query:   []Field{{Name: "limit", Kind: job.Int, Max: largestInteger, Doc: "newest lines to answer; default: all that are kept"}},
	Answers: []Answer{{Status: http.StatusOK, Doc: "the lines", Example: map[string]any{"session_id": "my-session", "logs": []string{"step 1: loss 0.5"}}}},
}

func (s *Server) getLogs(c *fiber.Ctx) error {
	session, err := s.session(c, sessionNotFound)
	if err != nil {
		return err
	}
	limit := queryInt(c, "limit", 0)
	lines := session.Logs(int(limit))
	if lines == nil {
		lines = []string{}
	}
	return c.JSON(fiber.Map{"session_id": session.ID(), "logs": lines})
}

func wantsEvents(c *fiber.Ctx) bool {
	return strings.Contains(c.Get(fiber.HeaderAccept), "text/event-stream")
}

// stillHere is the comment that keeps a silent stream of events open.
func stillHere() string { return ": still here\n\n" }

// flushing returns what sends the buffer of a long answer, and gives the client new time to take it. The connection's own
// goroutine writes; a client that stalls makes it fail, and then the flush.
func (s *Server) flushing(conn net.Conn, w *bufio.Writer) func() error {
	return func() error {
		return errors.Join(conn.SetWriteDeadline(time.Now().Add(s.options.Limits.Stall)), w.Flush())
	}
}

// stream sends what next returns until it ends, the client leaves or reads nothing for too long, or the server shuts down.
// next gets a context that ends with the heartbeat; write sends a batch and silence the heartbeat.
func stream[T any](s *Server, c *fiber.Ctx, kind string, next func(context.Context) ([]T, error), write func(*bufio.Writer, []T), silence func() string) error {
	leave, err := s.enterStream()
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, kind)
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set("X-Accel-Buffering", "no")
	conn := c.Context().Conn()
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer leave()
		defer func() { _ = conn.SetWriteDeadline(time.Time{}) }() // the connection may serve other requests
		ctx, cancel := s.until()
		defer cancel()
		flush := s.flushing(conn, w)
		if flush() != nil {
			return
		}
		for {
			tick, done := context.WithTimeout(ctx, heartbeat)
			items, err := next(tick)
			done()
			switch {
			case err == nil:
				write(w, items)
			case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && !clientLeft(conn):
				_, _ = w.WriteString(silence())
			default:
				return
			}
			if flush() != nil {
				return
			}
		}
	})
	return nil
}

var streamLogsSpec = Spec{
	Headers: []Field{{Name: "Last-Event-ID", Kind: job.Text, Doc: "number of the last line of an event stream that broke"}},
	Answers: []Answer{
		{Status: http.StatusOK, Media: mediaText, Doc: "one line of text a log line"},
		{Status: http.StatusOK, Media: mediaEvents, Doc: "messages of type log, with the number of the line as id"},
	},
}

func (s *Server) streamLogs(c *fiber.Ctx) error {
	session, err := s.session(c, sessionNotFound)
	if err != nil {
		return err
	}
	if wantsEvents(c) {
		reader := session.StreamLogsAfter(lastEventID(c))
		return stream(s, c, "text/event-stream", reader.Next, func(w *bufio.Writer, lines []string) {
			number := reader.Number() - int64(len(lines))
			for _, line := range lines {
				number++
				_, _ = fmt.Fprintf(w, "id: %d\nevent: log\ndata: %s\n\n", number, line)
			}
		}, stillHere)
	}
	return stream(s, c, "text/plain; charset=utf-8", session.StreamLogs().Next, func(w *bufio.Writer, lines []string) {
		for _, line := range lines {
			_, _ = w.WriteString(line + "\n")
		}
	}, func() string { return "" })
}

var getEventsSpec = Spec{
	Query: []Field{
		{Name: "since", Kind: job.Int, Max: largestInteger, Default: 0, Doc: "answer the events after this index"},
		{Name: "limit", Kind: job.Int, Max: largestInteger, Default: eventsPage, Doc: "most events of one answer that is not a stream"},
	},
	Headers: []Field{{Name: "Last-Event-ID", Kind: job.Text, Doc: "index of the last event of a stream that broke"}},
	Answers: []Answer{
		{Status: http.StatusOK, Doc: "the events", Example: map[string]any{"session_id": "my-session", "events": []sessions.Event{}}},
		{Status: http.StatusOK, Media: mediaEvents, Doc: "one message an event, named as its kind, with its index as id"},
	},
}

// getEvents answers the events after ?since, or streams them from there on; Last-Event-ID continues a broken stream.
func (s *Server) getEvents(c *fiber.Ctx) error {
	session, err := s.session(c, sessionNotFound)
	if err != nil {
		return err
	}
	since := queryInt(c, "since", 0)
	if !wantsEvents(c) {
		limit := queryInt(c, "limit", eventsPage)
		events, err := session.Events(c.Context(), since, int(min(limit, eventsPage)))
		if err != nil {
			return err
		}
		if events == nil {
			events = []sessions.Event{}
		}
		return c.JSON(fiber.Map{"session_id": session.ID(), "events": events})
	}
	return stream(s, c, "text/event-stream", session.Subscribe(max(since, lastEventID(c))).Next, writeEvents, stillHere)
}

func writeEvents(w *bufio.Writer, events []sessions.Event) {
	for _, event := range events {
		data, err := json.Marshal(event)
		if err != nil {
			continue // an Event always encodes: its data was made by json.Marshal
		}
		_, _ = fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", event.Index, event.Kind, data)
	}
}
