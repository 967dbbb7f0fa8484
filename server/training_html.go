package server

import (
	"bytes"
	"html/template"

	"github.com/gofiber/fiber/v2"
)

// alert is the answer of the endpoints that SimpleTuner's web page shows as they are. Clients look for the heading.
type alert struct {
	Kind    string // of the box: "success", "info", "warning" or "danger"
	Icon    string
	Heading string
	Text    string
	Items   []string // of the list
	// Suggestions follow warnings, and Notices whatever else there is to say.
	Suggestions, Notices []string
	Optional             bool // one may proceed in spite of the items
	JobID                string
}

// alertTemplate escapes whatever it is given.
var alertTemplate = template.Must(template.New("alert").Parse(`<div class="alert alert-{{.Kind}}">` +
	`<h6><i class="fas {{.Icon}}"></i> {{.Heading}}</h6>` +
	`{{with .Text}}<p{{if not $.JobID}} class="mb-0"{{end}}>{{.}}</p>{{end}}` +
	`{{if .Items}}<ul class="{{if .Optional}}mb-2{{else}}mb-0{{end}}">{{range .Items}}<li>{{.}}</li>{{end}}</ul>{{end}}` +
	`{{if .Suggestions}}<h6>Suggestions:</h6><ul class="mb-0">{{range .Suggestions}}<li>{{.}}</li>{{end}}</ul>{{end}}` +
	`{{if .Notices}}<ul class="mb-0 small text-muted">{{range .Notices}}<li>{{.}}</li>{{end}}</ul>{{end}}` +
	`{{if .Optional}}<small class="text-muted">You may proceed with training, but consider the remarks above.</small>{{end}}` +
	`{{with .JobID}}<p class="mb-0"><small>Job ID: {{.}}</small></p>{{end}}` +
	`</div>`))

var savedTemplate = template.Must(template.New("saved").Parse(
	`<div class="{{if .Failed}}text-danger{{else}}text-success{{end}}">` +
		`<i class="fas {{if .Failed}}fa-exclamation-triangle{{else}}fa-check-circle{{end}}"></i> {{.Text}}</div>`))

// send answers with a box; the status is always 200.
func (a alert) send(c *fiber.Ctx) error { return sendTemplate(c, alertTemplate, a) }

func sendTemplate(c *fiber.Ctx, t *template.Template, data any) error {
	var page bytes.Buffer
	if err := t.Execute(&page, data); err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, "text/html; charset=utf-8")
	return c.Send(page.Bytes())
}

// saved answers whether a configuration was saved.
func saved(c *fiber.Ctx, failed bool, text string) error {
	return sendTemplate(c, savedTemplate, struct {
		Failed bool
		Text   string
	}{failed, text})
}

func validationFailed(problems []string) alert {
	return alert{Kind: "danger", Icon: "fa-exclamation-triangle", Heading: "Validation Failed", Items: problems}
}

func validationWarnings(warnings, suggestions, notices []string) alert {
	return alert{Kind: "warning", Icon: "fa-exclamation-circle", Heading: "Validation Warnings", Items: warnings, Suggestions: suggestions,
		Notices: notices, Optional: true}
}

func configurationValid(notices []string) alert {
	return alert{Kind: "success", Icon: "fa-check-circle", Heading: "Configuration Valid",
		Text: "All settings look good! Ready to start training.", Notices: notices}
}

func cannotStart(problems []string) alert {
	return alert{Kind: "danger", Icon: "fa-exclamation-triangle", Heading: "Cannot Start Training", Items: problems}
}

func trainingStarting(id string, notices []string) alert {
	return alert{Kind: "info", Icon: "fa-cog fa-spin", Heading: "Training Starting", Text: "Your training job is starting.", Notices: notices, JobID: id}
}

func trainingQueued(id, text string, notices []string) alert {
	return alert{Kind: "info", Icon: "fa-clock", Heading: "Training Queued", Text: text, Notices: notices, JobID: id}
}

func trainingRejected(reason string) alert {
	return alert{Kind: "warning", Icon: "fa-exclamation-triangle", Heading: "Training Rejected", Text: reason}
}

func failedToStart(reason string) alert {
	return alert{Kind: "danger", Icon: "fa-exclamation-triangle", Heading: "Failed to Start Training", Text: reason}
}

func trainingCancelled(id, outcome string) alert {
	return alert{Kind: "warning", Icon: "fa-hand-paper", Heading: "Training Cancelled", Text: outcome, JobID: id}
}

func noActiveTraining() alert {
	return alert{Kind: "info", Icon: "fa-info-circle", Heading: "No Active Training", Text: "There is no active training job to cancel."}
}

func failedToCancel(reason string) alert {
	return alert{Kind: "danger", Icon: "fa-exclamation-triangle", Heading: "Failed to Cancel Training", Text: reason}
}
