package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

// globalNames are the names of messages on /api/events, by the type of the object.
var globalNames = map[string]string{
	typeStage: "lifecycle.stage", typeStatus: "training.status", typeState: "training.status", typeNotification: "notification",
	typeError: "error", typeCheckpoint: "callback:checkpoint", typeValidation: "callback:validation", typePreview: "callback:validation",
	typeMetric: "callback:metric",
}

// globalForm is an event as the user interface of SimpleTuner receives it: the object itself with more keys, but for steps,
// which are short.
func globalForm(s *sessions.Session, e sessions.Event, p Payload) (name string, form map[string]any) {
	if e.Kind == sessions.KindStep {
		var step sessions.StepEvent
		if json.Unmarshal(e.Data, &step) == nil {
			now := progressOf(s, s.Snapshot(), step)
			return "training.progress", map[string]any{"id": e.Seq, "type": "training.progress", "job_id": s.ID(), "timestamp": p.Body["timestamp"],
				"percent": now.Percent, "step": now.Step, "total_steps": now.TotalSteps, "epoch": now.Epoch, "total_epochs": now.TotalEpochs,
				"loss": now.Loss, "learning_rate": now.LearningRate, "metrics": now.Metrics}
		}
	}
	form = maps.Clone(p.Body)
	form["id"], form["message_type"], form["headline"] = e.Seq, p.Type, p.Title
	form["timestamp_display"] = e.Time.UTC().Format("15:04:05")
	for key, fallback := range map[string]any{"body": p.Message, "images": []any{}, "videos": []any{}, "audios": []any{}} {
		if form[key] == nil {
			form[key] = fallback
		}
	}
	name = globalNames[p.Type]
	switch {
	case p.Type == typeNotification && p.Severity == severityDebug:
		name = "callback:debug"
	case name == "callback:validation":
		form["validation"] = map[string]any{"title": p.Title, "prompt": p.Body["body"], "score": nil, "assets": []any{}}
	case name == "training.status":
		if data, ok := p.Body["data"].(map[string]any); ok {
			form["status"] = data["status"]
		}
	}
	return name, form
}

var globalEventsSpec = Spec{
	Headers: []Field{{Name: "Last-Event-ID", Kind: job.Int, Doc: "id of the last event of a stream that broke; without it the newest thousand come first; " +
		"for one that is newer than all events, a message reset says where the stream goes on"}},
	Answers: []Answer{{Status: http.StatusOK, Media: mediaEvents, Doc: "one message an event of any training job, with its id; heartbeats between them"}},
}

// streamGlobalEvents is the stream of all training jobs. Ids are the same after a restart of the server.
func (s *Server) streamGlobalEvents(c *fiber.Ctx) error {
	after, reset := s.hub.recent(), ""
	if last, said := lastEvent(c); said {
		after, reset = continued(last, s.options.Manager.LastSeq())
	}
	next := func(ctx context.Context) (found []entry, err error) {
		found, after, err = s.hub.next(ctx, after)
		return found, err
	}
	return stream(s, c, live[entry]{media: mediaEvents, head: greeting + reset, next: next, write: writeGlobalEvents, silence: func() string {
		return fmt.Sprintf("event: heartbeat\ndata: {\"type\":\"heartbeat\",\"timestamp\":%.3f}\n\n", epochSeconds(time.Now()))
	}})
}

const greeting = "event: connection\ndata: {\"type\":\"connected\",\"message\":\"Connected to stepd\"}\n\n"

func writeGlobalEvents(w *bufio.Writer, found []entry) {
	for _, e := range found {
		writeMessage(w, fmt.Sprintf("id: %d\nevent: %s\ndata: ", e.seq, e.name), e.data)
	}
}

// broadcast is the long poll's answer.
type broadcast struct {
	Events    []json.RawMessage `json:"events"`
	NextIndex int64             `json:"next_index"`
}

// longestPoll bounds how long a long poll waits, in seconds.
const longestPoll = 60

var broadcastSpec = Spec{
	Query: []Field{
		{Name: "last_event_index", Kind: job.Int, Max: largestInteger, Default: 0, Doc: "answer the events after this index; 0: the newest ones"},
		{Name: "timeout", Kind: job.Float, Max: longestPoll, Default: 30, Doc: "seconds to wait for an event"},
	},
	Answers: []Answer{{Status: http.StatusOK, Doc: "the events, and the index to ask for next", Example: broadcast{}}},
}

// pollGlobalEvents waits for events after an index.
func (s *Server) pollGlobalEvents(c *fiber.Ctx) error {
	after, _ := continued(queryInt(c, "last_event_index", 0), s.options.Manager.LastSeq())
	timeout := queryFloat(c, "timeout", 30)
	if after == 0 {
		after = s.hub.recent()
	}
	closing, cancel := s.until()
	defer cancel()
	ctx, cancel := context.WithTimeout(closing, time.Duration(timeout*float64(time.Second)))
	defer cancel()
	found, after, err := s.hub.next(ctx, after)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	c.Context().SetBodyStreamWriter(func(w *bufio.Writer) {
		separator := `{"events":[`
		for _, e := range found {
			_, _ = w.WriteString(separator)
			_ = e.data.writeTo(w)
			separator = ","
		}
		if len(found) == 0 {
			_, _ = w.WriteString(separator)
		}
		_, _ = fmt.Fprintf(w, `],"next_index":%d}`, after)
	})
	return nil
}

// recentLines is the length of the list of recent events.
const recentLines = 50

var recentTemplate = template.Must(template.New("recent").Parse(`<ul class="list-group event-list">
{{- range .}}
  <li class="list-group-item event-{{.severity}}"><small class="text-muted">{{.timestamp_display}}</small> {{.message}}</li>
{{- else}}
  <li class="list-group-item text-muted">No recent events</li>
{{- end}}
</ul>
`))

var recentEventsSpec = answers(Answer{Status: http.StatusOK, Media: mediaHTML, Doc: "the newest events as a list, newest first"})

// listRecentEvents is the list for a web page.
func (s *Server) listRecentEvents(c *fiber.Ctx) error {
	var lines []map[string]any
	for _, e := range s.hub.tail() {
		if len(lines) == recentLines {
			break
		}
		var form map[string]any
		if json.Unmarshal(e.data.text, &form) == nil && form["message"] != nil {
			lines = append(lines, form)
		}
	}
	var page bytes.Buffer
	if err := recentTemplate.Execute(&page, lines); err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, "text/html; charset=utf-8")
	return c.Send(page.Bytes())
}
