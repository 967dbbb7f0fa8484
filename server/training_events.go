package server

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

// eventList is the answer of /api/training/events.
type eventList struct {
	Events    []json.RawMessage `json:"events"`
	JobID     *string           `json:"job_id"`
	NextIndex *int64            `json:"next_index,omitempty"`
}

var trainingEventsSpec = Spec{
	Query: []Field{{Name: "since_index", Kind: job.Int, Max: largestInteger, Default: 0, Doc: "how many events of the job the caller has already"}},
	Answers: []Answer{{Status: http.StatusOK, Doc: "the events of the current or last job from there on; without a job: an empty list and job_id null",
		Example: eventList{}}},
}

// trainingEvents answers every event of the current or last job from since_index on: steps, stages, pictures, checkpoints
// and the end. The list is written while it is read, so that its length costs no memory.
func (s *Server) trainingEvents(c *fiber.Ctx) error {
	since := queryInt(c, "since_index", 0)
	session := s.currentJob()
	if session == nil {
		return c.JSON(eventList{Events: []json.RawMessage{}})
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	conn := c.Context().Conn()
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		ctx, cancel := s.until()
		defer cancel()
		s.writeEventList(ctx, w, s.flushing(conn, w), session, since)
	})
	return nil
}

// writeEventList writes the events after since that are there now. A list that breaks off says why.
func (s *Server) writeEventList(ctx context.Context, w *bufio.Writer, flush func() error, session *sessions.Session, since int64) {
	tail := eventTail{JobID: session.ID(), NextIndex: since}
	separator := `{"events":[`
	for newest := session.Snapshot().LastEvent; tail.NextIndex < newest; {
		events, err := session.Events(ctx, tail.NextIndex, eventsPage/10)
		if err != nil || len(events) == 0 {
			s.options.Logger.Warn("event list ends early", zap.String("session", session.ID()), zap.Error(err))
			tail.Error = "the events cannot be read at the moment; ask again from next_index on"
			break
		}
		for _, e := range events[:min(int64(len(events)), newest-tail.NextIndex)] {
			p, _ := describeEvent(session, e)
			_, _ = w.WriteString(separator)
			_ = encodeObject(p.Body, p).writeTo(w)
			separator = ","
			tail.NextIndex = e.Index
			if flush() != nil {
				return
			}
		}
	}
	if separator != "," {
		_, _ = w.WriteString(separator)
	}
	data, err := json.Marshal(tail)
	if err != nil {
		return
	}
	_, _ = w.WriteString("],")
	_, _ = w.Write(data[1:])
}

// eventTail ends the list of events.
type eventTail struct {
	JobID     string `json:"job_id"`
	NextIndex int64  `json:"next_index"`
	Error     string `json:"error,omitempty"`
}
