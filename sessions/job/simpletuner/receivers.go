package simpletuner

import (
	"fmt"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// receiverRows: fields of a receiver in webhook_config.
var receiverRows = index([]Row{
	{Name: "webhook_type", Kind: job.Text, Default: job.WebhookRaw, Choices: []string{job.WebhookRaw, job.WebhookDiscord}},
	{Name: "callback_url", Kind: job.Text},
	{Name: "webhook_url", Kind: job.Text},
	{Name: "message_prefix", Kind: job.Text},
	{Name: "log_level", Kind: job.Text, Default: "info"},
	{Name: "auth_token", Kind: job.Text},
	{Name: "secret", Kind: job.Text},
	{Name: "ssl_no_verify", Kind: job.Bool},
	{Name: "reporting_interval", Kind: job.Int, Min: 0, Max: 1 << 40},
})

// maxReceivers bounds what one job can make the server send.
const maxReceivers = 16

// receivers reads the receivers of events in webhook_config.
func (t *translation) receivers() {
	const name = "webhook_config"
	document := t.document(name)
	if document == nil {
		return
	}
	list, ok := document.([]any)
	if !ok {
		list = []any{document}
	}
	if len(list) > maxReceivers {
		t.refuse(option(name), "lists %d receivers; use at most %d", len(list), maxReceivers)
		return
	}
	for i, entry := range list {
		field := option(name)
		if len(list) > 1 {
			field = fmt.Sprintf("%s[%d]", field, i)
		}
		object, ok := entry.(map[string]any)
		if !ok {
			t.refuse(field, "%s is not an object with webhook_type and callback_url or webhook_url", values.Show(entry))
			continue
		}
		t.receiver(field, object)
	}
}

func (t *translation) receiver(field string, object map[string]any) {
	given, before := map[string]any{}, len(t.problems)
	for _, name := range sortedKeys(object) {
		row, known := receiverRows[name]
		if !known {
			t.warn("%s: %s is not a field that this program knows; it has no effect", field, short(name))
			continue
		}
		value, err := row.parse(object[name], true)
		if err != nil {
			t.refuse(field, "%s: %v", name, err)
		}
		given[name] = value
	}
	if len(t.problems) > before {
		return
	}
	text := func(name string) string {
		if text, ok := given[name].(string); ok {
			return text
		}
		text, _ := receiverRows[name].Default.(string)
		return text
	}
	hook := job.Webhook{Type: text("webhook_type"), Prefix: text("message_prefix"), Level: text("log_level"), AuthToken: text("auth_token"),
		Secret: text("secret"), Interval: t.integer("webhook_reporting_interval")}
	address := "callback_url"
	if hook.Type == job.WebhookDiscord {
		address = "webhook_url"
	}
	hook.URL = text(address)
	hook.SkipVerify, _ = given["ssl_no_verify"].(bool)
	if interval, ok := given["reporting_interval"].(int64); ok && interval > 0 {
		hook.Interval = interval
	}
	t.checkReceiver(field, address, hook)
	t.webhooks = append(t.webhooks, hook)
}

// checkReceiver asks whoever sends whether this may be sent to.
func (t *translation) checkReceiver(field, address string, hook job.Webhook) {
	check := t.request.Receiver
	if check == nil {
		check = receiverShape
	}
	names := map[string]string{"url": address, "level": "log_level", "interval": "reporting_interval"}
	for _, problem := range check(hook) {
		name, renamed := names[problem.Field]
		if !renamed {
			name = problem.Field
		}
		t.refuse(field, "%s: %s", name, problem.Message)
	}
}

// receiverShape checks the shape of a webhook where nothing is sent.
func receiverShape(hook job.Webhook) (problems []job.Problem) {
	if !strings.HasPrefix(hook.URL, "http://") && !strings.HasPrefix(hook.URL, "https://") {
		problems = append(problems, job.Problem{Field: "url", Message: "is missing or not an http or https address"})
	}
	switch hook.Level {
	case "debug", "info", "warning", "error", "critical":
	default:
		problems = append(problems, job.Problem{Field: "level",
			Message: fmt.Sprintf("%q is not one of debug, info, warning, error, critical", hook.Level)})
	}
	return problems
}
