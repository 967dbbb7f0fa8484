package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/stepd/stepd/sessions/job"
)

// Payload is what receivers are told about one event.
type Payload struct {
	// Type as receivers know it: "training.status", "notification", …
	Type string
	// Severity is one of Levels.
	Severity string
	Title    string
	Message  string
	// Body holds all other fields of the JSON object. "images" is a list of objects whose "src" is a data URI.
	Body map[string]any
}

// Levels of severity, the least serious first.
var Levels = []string{"debug", "info", "warning", "error", "critical"}

// defaultLevel is that of receivers that name none, and the severity of payloads that name none.
const defaultLevel = "info"

// rank of a level; an unknown or empty one counts as the default.
func rank(level string) int {
	if i := slices.Index(Levels, level); i >= 0 {
		return i
	}
	return slices.Index(Levels, defaultLevel)
}

// message is the body of a request; sending it again sends the same bytes.
type message struct {
	contentType string
	body        []byte
}

// encode makes the message of a payload; nil when the receiver has no form for it. id makes messages of one event equal.
func encode(w job.Webhook, p Payload, id string) (*message, error) {
	if w.Type == job.WebhookDiscord {
		return encodeDiscord(w, p, id)
	}
	return encodeRaw(p)
}

// encodeRaw writes one JSON object. Maps are written with sorted keys, so that the bytes depend on the payload only.
func encodeRaw(p Payload) (*message, error) {
	object := maps.Clone(p.Body)
	if object == nil {
		object = map[string]any{}
	}
	for key, value := range map[string]string{"type": p.Type, "severity": p.Severity, "title": p.Title, "message": p.Message} {
		if _, given := object[key]; value != "" && !given {
			object[key] = value
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", p.Type, err)
	}
	return &message{contentType: "application/json", body: bytes.TrimSuffix(text.Bytes(), []byte("\n"))}, nil
}
