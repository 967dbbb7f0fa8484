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

// live is an answer that goes on.
type live[T any] struct {
	media string
	// head comes first, at once.
	head string
	// next waits for items; its context ends with the heartbeat.
	next  func(context.Context) ([]T, error)
	write func(*bufio.Writer, []T)
	// silence is the heartbeat.
	silence func() string
}

// stream sends items until there will be no more, the client leaves or reads nothing for too long, or the server shuts down.
func stream[T any](s *Server, c *fiber.Ctx, l live[T]) error {
	leave, err := s.enterStream()
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, l.media)
	c.Set(fiber.HeaderCacheControl, "no-cache")
	c.Set("X-Accel-Buffering", "no")
	conn := c.Context().Conn()
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		defer leave()
		defer func() { _ = conn.SetWriteDeadline(time.Time{}) }() // the connection may serve other requests
		ctx, cancel := s.until()
		defer cancel()
		flush := s.flushing(conn, w)
		_, _ = w.WriteString(l.head)
		if flush() != nil {
			return
		}
		for {
			tick, done := context.WithTimeout(ctx, heartbeat)
			items, err := l.next(tick)
			done()
			switch {
			case err == nil:
				l.write(w, items)
			case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && !clientLeft(conn):
				_, _ = w.WriteString(l.silence())
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

// resetEvent tells the reader of a stream that the id it had last is unknown here.
type resetEvent struct {
	Type        string `json:"type"`
	LastEventID int64  `json:"last_event_id"`
	Newest      int64  `json:"newest"`
	Message     string `json:"message"`
}

// continued is where a stream goes on behind the last event that its reader had. An id above the newest one is of an event
// that was lost, as with a data folder from a backup: the stream goes on behind the newest event, and its head says so,
// under an id that the reader can come back with.
func continued(last, newest int64) (after int64, head string) {
	if last <= newest {
		return last, ""
	}
	data, err := json.Marshal(resetEvent{Type: "reset", LastEventID: last, Newest: newest,
		Message: "there is no event of this id; events were lost, and this stream goes on behind the newest one"})
	if err != nil {
		return newest, ""
	}
	return newest, fmt.Sprintf("id: %d\nevent: reset\ndata: %s\n\n", newest, data)
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
		return stream(s, c, live[string]{media: mediaEvents, next: reader.Next, silence: stillHere, write: func(w *bufio.Writer, lines []string) {
			number := reader.Number() - int64(len(lines))
			for _, line := range lines {
				number++
				_, _ = fmt.Fprintf(w, "id: %d\nevent: log\ndata: %s\n\n", number, line)
			}
		}})
	}
	plain := live[string]{media: "text/plain; charset=utf-8", next: session.StreamLogs().Next, silence: func() string { return "" }}
	plain.write = func(w *bufio.Writer, lines []string) {
		for _, line := range lines {
			_, _ = w.WriteString(line + "\n")
		}
	}
	return stream(s, c, plain)
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
		ctx, cancel := s.until()
		defer cancel()
		events, err := session.Events(ctx, since, int(min(limit, eventsPage)))
		if err != nil {
			return err
		}
		if events == nil {
			events = []sessions.Event{}
		}
		return c.JSON(fiber.Map{"session_id": session.ID(), "events": events})
	}
	after, head := continued(max(since, lastEventID(c)), session.Snapshot().LastEvent)
	return stream(s, c, live[sessions.Event]{media: mediaEvents, head: head, next: session.Subscribe(after).Next, write: writeEvents, silence: stillHere})
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
