package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
)

// lane carries the events of one session to one receiver, one after the other. Its goroutine runs only while there is
// something to send.
type lane struct {
	service *Service
	session *sessions.Session
	webhook job.Webhook
	state   store.Delivery // used by the goroutine only

	// Guarded by Service.mu.
	running bool
	news    bool // while running

	// cancel ends a running lane; used by the follower only.
	cancel context.CancelFunc
}

// page is the number of events that a lane holds at a time.
const page = 64

// run sends until there is nothing left to send.
func (l *lane) run(ctx context.Context) {
	for !l.state.Disabled {
		events, err := l.session.Events(ctx, l.state.Settled, page)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, sessions.ErrClosed) {
				return
			}
			l.log().Error("webhook: read events", zap.Error(err))
			if l.service.wait(ctx, schedule[0]) != nil {
				return
			}
			continue
		}
		if len(events) == 0 && l.service.rest(l) {
			return
		}
		for _, event := range events {
			if !l.settle(ctx, event) {
				return
			}
		}
	}
}

// settle returns when the event needs no further try; false ends the lane.
func (l *lane) settle(ctx context.Context, event sessions.Event) bool {
	for {
		// No message stays in memory during a wait: it is encoded again for the next try.
		if err := l.waitForTry(ctx); err != nil || !l.service.lives(l.session) {
			return false
		}
		m, err := l.message(event)
		if err != nil {
			l.bury(event, err.Error())
			return true
		}
		if m == nil {
			l.passed(event)
			return true
		}
		answer, err := l.service.sender.post(ctx, l.webhook, messageID(event, l.session), m)
		if ctx.Err() != nil {
			return false // the server ends; the next one tries again
		}
		if settled := l.conclude(event, answer, err); settled || l.state.Disabled {
			return settled
		}
	}
}

// waitForTry returns when the next try is due.
func (l *lane) waitForTry(ctx context.Context) error {
	if l.state.NextTry.IsZero() {
		return nil
	}
	if wait := l.state.NextTry.Sub(l.service.clock.Now()); wait > 0 {
		return l.service.wait(ctx, wait)
	}
	return nil
}

// messageID is the same for every try.
func messageID(event sessions.Event, session *sessions.Session) string {
	return fmt.Sprintf("msg_%s_%d", session.Key(), event.Index)
}

// message encodes an event; nil when this receiver does not want it. A defect of the encoder costs one event.
func (l *lane) message(event sessions.Event) (m *message, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("event cannot be encoded: %v", reason)
		}
	}()
	if event.Kind == sessions.KindStep && !l.wantsStep(event) {
		return nil, nil
	}
	if l.webhook.Type == job.WebhookDiscord && (event.Kind == sessions.KindStage || event.Kind == sessions.KindPreview) {
		return nil, nil // for programs that show progress; people would drown in them
	}
	payload, ok := l.service.options.Encode(l.session, event)
	if !ok || rank(payload.Severity) < rank(l.webhook.Level) {
		return nil, nil
	}
	return encode(l.webhook, payload, messageID(event, l.session))
}

// wantsStep applies the reporting interval. It depends on the step only, so that a restart changes nothing. People get
// steps only if they asked for an interval.
func (l *lane) wantsStep(event sessions.Event) bool {
	interval := l.webhook.Interval
	if interval <= 0 {
		return l.webhook.Type != job.WebhookDiscord
	}
	var step sessions.StepEvent
	return json.Unmarshal(event.Data, &step) == nil && step.Step%interval == 0
}

// conclude draws the consequence of a try and tells whether the event is settled.
func (l *lane) conclude(event sessions.Event, answer reply, err error) bool {
	verdict, problem := tryAgain, ""
	if err != nil {
		problem = err.Error()
	} else {
		verdict, problem = judge(answer.status), fmt.Sprintf("status %d", answer.status)
	}
	switch verdict {
	case delivered:
		if l.state.Failures > 0 {
			l.log().Info("webhook answers again")
		}
		l.passed(event)
		return true
	case refused:
		l.bury(event, problem)
		return true
	case gone:
		l.disable(problem)
		return false
	}
	l.failed(problem, answer)
	return false
}

// passed moves on to the next event.
func (l *lane) passed(event sessions.Event) {
	l.state = store.Delivery{Session: l.state.Session, Receiver: l.state.Receiver, Settled: event.Index}
	l.service.ledger.put(l.state)
}

// bury lists an event as a dead letter and moves on.
func (l *lane) bury(event sessions.Event, problem string) {
	l.log().Warn("webhook refuses an event", zap.Int64("event", event.Index), zap.String("problem", problem))
	l.service.ledger.bury(store.DeadLetter{Session: l.state.Session, Receiver: l.state.Receiver, Index: event.Index,
		Time: l.service.clock.Now().UTC(), Problem: problem})
	l.passed(event)
}

// failed plans the next try, or gives the receiver up.
func (l *lane) failed(problem string, answer reply) {
	now := l.service.clock.Now().UTC()
	if l.state.Since.IsZero() {
		l.state.Since = now
	}
	l.state.Problem = problem
	limited := answer.wait > 0 && answer.status == http.StatusTooManyRequests
	if !limited { // a receiver that is busy has not failed
		if l.state.Failures++; l.state.Failures == 1 {
			l.log().Warn("webhook fails; it is tried again, and this is not repeated", zap.String("problem", problem))
		}
	}
	if l.state.Failures > len(schedule) || now.Sub(l.state.Since) > patience() {
		l.disable("given up: " + problem)
		return
	}
	wait := answer.wait
	if !limited {
		planned := schedule[l.state.Failures-1]
		wait = max(wait, planned+time.Duration(float64(planned)*jitter*l.service.options.Random()))
	}
	l.state.NextTry = now.Add(wait)
	l.service.ledger.put(l.state)
}

// disable stops the lane for good; what was not delivered counts as dead letters.
func (l *lane) disable(problem string) {
	l.log().Warn("webhook is disabled for this session", zap.String("problem", problem))
	if l.state.Since.IsZero() {
		l.state.Since = l.service.clock.Now().UTC()
	}
	l.state.Disabled, l.state.Problem, l.state.NextTry = true, problem, time.Time{}
	l.service.ledger.put(l.state)
}

// log names the receiver by host, for the rest of its URL may be secret.
func (l *lane) log() *zap.Logger {
	return l.service.options.Logger.With(zap.String("session", l.session.ID()), zap.Int("webhook", l.state.Receiver),
		zap.String("host", hostOf(l.webhook)))
}
