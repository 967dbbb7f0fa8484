package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/notify"
)

const (
	// largestCallback bounds what is kept of a message, without its pictures: a thousand stay in memory.
	largestCallback = 32 << 10
	// callbackWait is how long a message may wait for its place among the events.
	callbackWait = 10 * time.Second
)

// callbackNames are the names of messages on /api/events by their type. All begin with "callback:", so that nobody takes
// them for news of this server's own jobs.
var callbackNames = map[string]string{
	typeCheckpoint: "callback:checkpoint", typeValidation: "callback:validation", typePreview: "callback:validation",
	typeMetric: "callback:metric", "training.progress": "callback:progress", typeError: "callback:alert",
	"debug": "callback:debug", "debug.image": "callback:debug", typeNotification: "callback:status", typeStage: "callback:status",
	typeStatus: "callback:status", "training.summary": "callback:status",
}

var callbackSpec = Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
	{Name: "type", Kind: job.Text, Doc: "as lifecycle.stage, training.status or training.checkpoint; others are notification"},
	{Name: "severity", Kind: job.Text, Doc: "debug, info, success, warning, error or critical; others are info"},
	{Name: "title", Kind: job.Text, Doc: "one line"},
	{Name: "message", Kind: job.Text, Doc: "the text"},
	{Name: "job_id", Kind: job.Text, Doc: "of the sender; it may be any job, also one of another program"},
}, Example: object{"type": "notification", "message": "the upload has ended"}},
	Answers: []Answer{{Status: http.StatusOK, Doc: "it is among the events", Example: object{"message": ""}},
		{Status: http.StatusRequestEntityTooLarge, Doc: "it is too long without its pictures", Example: detail{}}}}

// takeCallback shows a message of another program, as the webhooks of SimpleTuner's trainers are, among the events of
// /api/events, /broadcast and /api/events/recent. It changes nothing else: no job, no list of a job's events, nothing that
// is sent to receivers. It is kept in memory only, without pictures.
func (s *Server) takeCallback(c *fiber.Ctx) error {
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	form := callbackForm(b, time.Now())
	if err := b.err(); err != nil {
		return err
	}
	text, err := json.Marshal(form)
	if err != nil {
		return err
	}
	if len(text) > largestCallback {
		return failure(http.StatusRequestEntityTooLarge, "body: larger than %s without images, videos and audios; send less",
			humanize.IBytes(largestCallback))
	}
	closing, cancel := s.until()
	defer cancel()
	ctx, cancel := context.WithTimeout(closing, callbackWait)
	defer cancel()
	if err := s.hub.post(ctx, callbackNames[form["type"].(string)], form); err != nil {
		return err
	}
	return c.JSON(fiber.Map{"message": "Callback received successfully"})
}

// callbackForm is the object that stands for a message, in the form that events have there.
func callbackForm(b *body, now time.Time) map[string]any {
	kind := strings.ToLower(strings.TrimSpace(b.text("type", "event_type", "message_type", "category")))
	if callbackNames[kind] == "" {
		kind = typeNotification
	}
	severity := strings.ToLower(b.text("severity", "level"))
	if severity != "success" && !slices.Contains(notify.Levels, severity) {
		severity = severityInfo
	}
	title, message := b.text("title", "headline", "label"), b.text("message", "body")
	form := map[string]any{"type": kind, "message_type": kind, "severity": severity, "title": title, "headline": title,
		"message": message, "body": message, "job_id": nil, "source": "callback",
		"timestamp": now.UTC().Format(time.RFC3339Nano), "timestamp_display": now.UTC().Format("15:04:05")}
	if id := b.text("job_id", "job"); id != "" {
		form["job_id"] = id
	}
	for _, field := range []string{"data", "progress", "stage", "checkpoint"} {
		if object, ok := b.fields[field].(map[string]any); ok {
			form[field] = object
		}
	}
	for _, field := range []string{"images", "videos", "audios"} {
		form[field] = []any{}
		if list, ok := b.fields[field].([]any); ok && len(list) > 0 {
			form[field+"_left_out"] = len(list)
		}
	}
	return form
}
