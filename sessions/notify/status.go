package notify

import (
	"context"
	"net/url"
	"time"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
)

// Status is how far a receiver has got with the events of a session. It holds no secrets.
type Status struct {
	Type string `json:"type"`
	// Host of the URL; the rest may be secret.
	Host string `json:"host"`
	// Settled is the index of the last event that needs no further try.
	Settled int64 `json:"settled"`
	// Failures counts the tries of the next event that failed; NextTry is when it is tried again.
	Failures int        `json:"failures"`
	NextTry  *time.Time `json:"next_try,omitempty"`
	Problem  string     `json:"problem,omitempty"`
	// Disabled: nothing more is sent.
	Disabled bool `json:"disabled"`
	// DeadLetters are the events that the receiver did not get and will not get.
	DeadLetters []DeadLetters `json:"dead_letters,omitempty"`
}

// DeadLetters are consecutive events with the same fate.
type DeadLetters struct {
	From    int64     `json:"from"` // indexes of events
	To      int64     `json:"to"`
	Time    time.Time `json:"time"`
	Problem string    `json:"problem"`
}

// maxDeadLetters bounds the list of one session.
const maxDeadLetters = 1000

// Status lists the receivers of a session in their order.
func (s *Service) Status(ctx context.Context, session *sessions.Session) ([]Status, error) {
	if err := s.ledger.save(ctx); err != nil {
		return nil, err
	}
	deliveries := s.options.Manager.Deliveries()
	rows, err := deliveries.List(ctx, session.Key())
	if err != nil {
		return nil, err
	}
	letters, err := deliveries.DeadLetters(ctx, session.Key(), maxDeadLetters)
	if err != nil {
		return nil, err
	}
	webhooks := s.options.Endpoints(session)
	list := make([]Status, len(webhooks))
	for i, webhook := range webhooks {
		list[i] = Status{Type: webhook.Type, Host: hostOf(webhook)}
	}
	for _, letter := range letters {
		if letter.Receiver < len(list) {
			list[letter.Receiver].addLetter(letter)
		}
	}
	for _, row := range rows {
		if row.Receiver < len(list) {
			list[row.Receiver].set(row, session.Snapshot().LastEvent)
		}
	}
	return list, nil
}

func (s *Status) set(row store.Delivery, last int64) {
	s.Settled, s.Failures, s.Problem, s.Disabled = row.Settled, row.Failures, row.Problem, row.Disabled
	if !row.NextTry.IsZero() {
		s.NextTry = &row.NextTry
	}
	if row.Disabled && last > row.Settled {
		s.DeadLetters = append(s.DeadLetters, DeadLetters{From: row.Settled + 1, To: last, Time: row.Since, Problem: row.Problem})
	}
}

func (s *Status) addLetter(letter store.DeadLetter) {
	if n := len(s.DeadLetters); n > 0 && s.DeadLetters[n-1].To == letter.Index-1 && s.DeadLetters[n-1].Problem == letter.Problem {
		s.DeadLetters[n-1].To = letter.Index
		return
	}
	s.DeadLetters = append(s.DeadLetters, DeadLetters{From: letter.Index, To: letter.Index, Time: letter.Time, Problem: letter.Problem})
}

func hostOf(w job.Webhook) string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return ""
	}
	return u.Host
}
