package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/stepd/stepd/sessions/job"
)

// Check lists what is wrong with a receiver; fields are those of job.Webhook. It asks DNS for the host.
func (s *Service) Check(ctx context.Context, w job.Webhook) []job.Problem {
	var problems []job.Problem
	add := func(field, message string) { problems = append(problems, job.Problem{Field: field, Message: message}) }
	if w.Type != job.WebhookRaw && w.Type != job.WebhookDiscord {
		add("type", "is neither raw nor discord")
	}
	if err := s.policy.check(ctx, w.URL); err != nil {
		add("url", err.Error())
	}
	if w.Level != "" && Levels[rank(w.Level)] != w.Level {
		add("level", "is none of debug, info, warning, error, critical")
	}
	if !plainASCII(w.AuthToken) {
		add("auth_token", "holds characters other than printable ASCII, which a header cannot carry")
	}
	if w.Secret != "" {
		if _, err := signingKey(w.Secret); err != nil {
			add("secret", err.Error())
		}
	}
	if u, err := s.policy.parse(w.URL); w.SkipVerify && err == nil && !s.policy.allows(u.Hostname(), portOf(u)) {
		add("ssl_no_verify", "is refused, certificates are verified; the operator can allow it with --allow-webhook "+hostPort(u))
	}
	if w.Interval < 0 {
		add("interval", "is negative; use a number of steps, or 0 for every step")
	}
	return problems
}

// Errors of Deliver that callers tell apart.
var (
	// ErrTooMany: wait a minute before the next test.
	ErrTooMany = errors.New("too many test deliveries; wait a minute")
	// ErrNotDelivered: the receiver could not be reached or did not accept.
	ErrNotDelivered = errors.New("not delivered")
)

// Deliver sends one message now, outside of any session, without tries: the test of a receiver. Its request is the one
// that events get. Errors: *job.Invalid, ErrTooMany, ErrNotDelivered.
func (s *Service) Deliver(ctx context.Context, w job.Webhook, p Payload) error {
	if problems := s.Check(ctx, w); len(problems) > 0 {
		return &job.Invalid{Problems: problems}
	}
	now := s.clock.Now()
	if !s.tests.take(now) {
		return ErrTooMany
	}
	id := "msg_test_" + strconv.FormatInt(now.UnixNano(), 10)
	m, err := encode(w, p, id)
	if err != nil {
		return err
	}
	if m == nil {
		return fmt.Errorf("%w: Discord takes no message without text", ErrNotDelivered)
	}
	answer, err := s.sender.post(ctx, w, id, m)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotDelivered, err)
	case judge(answer.status) != delivered:
		return fmt.Errorf("%w: the receiver answered with status %d", ErrNotDelivered, answer.status)
	}
	return nil
}

// testsPerMinute keeps Deliver from being a tool to scan the network with.
const testsPerMinute = 10

// limiter counts the tests of the last minute.
type limiter struct {
	mu    sync.Mutex
	times []time.Time
}

func (l *limiter) take(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.times) > 0 && now.Sub(l.times[0]) >= time.Minute {
		l.times = l.times[1:]
	}
	if len(l.times) >= testsPerMinute {
		return false
	}
	l.times = append(l.times, now)
	return true
}
