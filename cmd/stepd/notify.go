package main

import (
	"go.uber.org/zap"

	"github.com/stepd/stepd/server"
	"github.com/stepd/stepd/sessions"
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
