package main

import (
	"context"

	"go.uber.org/zap"

	"github.com/stepd/stepd/server"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/notify"
)

// newNotifier sends what SimpleTuner's clients see on the server's streams to the webhooks of their jobs.
func newNotifier(manager *sessions.Manager, allow []string, log *zap.Logger) (*notify.Service, error) {
	return notify.New(notify.Options{Manager: manager, Allow: allow, Logger: log,
		Encode: func(s *sessions.Session, e sessions.Event) (notify.Payload, bool) {
			payload, ok := server.EventPayload(s, e)
			return notify.Payload(payload), ok
		}})
}

// deliver is the test of a receiver; Discord shows the payload's message.
func deliver(service *notify.Service) func(context.Context, job.Webhook, any) error {
	return func(ctx context.Context, receiver job.Webhook, payload any) error {
		body, _ := payload.(map[string]any)
		message, _ := body["message"].(string)
		return service.Deliver(ctx, receiver, notify.Payload{Message: message, Body: body})
	}
}
