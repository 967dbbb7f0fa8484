package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
)

// Options configure a Service.
type Options struct {
	Manager *sessions.Manager
	// Encode makes the payload of an event, or says that there is none. It must depend on its arguments' stored parts only
	// (the event, the job and the labels of the session), so that a later try sends the same.
	Encode func(*sessions.Session, sessions.Event) (Payload, bool)
	// Endpoints lists the receivers of a session, always the same ones in the same order; nil: those of its label
	// "webhooks".
	Endpoints func(*sessions.Session) []job.Webhook
	// Allow lists HOST or HOST:PORT of receivers that may be private and speak plain http.
	Allow []string
	// Logger receives what operators should know, once; nil: nothing.
	Logger *zap.Logger
	// Resolver, Clock and Random (in [0, 1), for the jitter of waits) are for tests; nil: the real ones.
	Resolver Resolver
	Clock    Clock
	Random   func() float64
}

// Label of sessions that holds their receivers, a JSON list of job.Webhook.
const Label = "webhooks"

// Service sends events to the receivers of all sessions, from New to Close.
type Service struct {
	options Options
	clock   Clock
	policy  *policy
	sender  *sender
	ledger  *ledger
	tests   limiter

	cancel context.CancelFunc
	work   sync.WaitGroup
	mu     sync.Mutex                    // of the flags of lanes
	lanes  map[*sessions.Session][]*lane // used by the follower only
}

// New returns a service that sends nothing before Start. It refuses entries of Allow that are not HOST or HOST:PORT.
func New(o Options) (*Service, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Random == nil {
		o.Random = rand.Float64
	}
	if o.Endpoints == nil {
		o.Endpoints = labelled
	}
	p, err := newPolicy(o.Allow, o.Resolver)
	if err != nil {
		return nil, err
	}
	return &Service{options: o, clock: o.Clock, policy: p, sender: newSender(p, o.Clock.Now),
		ledger: newLedger(o.Manager.Deliveries(), o.Logger), lanes: map[*sessions.Session][]*lane{}}, nil
}

// CheckAllow tells whether entries are what Options.Allow takes.
func CheckAllow(entries []string) error {
	_, err := newPolicy(entries, nil)
	return err
}

// labelled reads the receivers from the session's label.
func labelled(s *sessions.Session) []job.Webhook {
	var list []job.Webhook
	if text := s.Labels()[Label]; text != "" && json.Unmarshal([]byte(text), &list) != nil {
		return nil
	}
	return list
}

// Start continues where the last server ended, and follows all sessions.
func (s *Service) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	feed := s.options.Manager.Subscribe(s.options.Manager.LastSeq())
	s.work.Go(func() { s.follow(ctx, feed) })
}

// Close ends requests that are on their way and stores how far each receiver has got. Call it before the manager's
// Close; what happens after it is sent by the next server.
func (s *Service) Close() error {
	if s.cancel != nil {
		s.cancel()
	}
	s.work.Wait()
	s.sender.client.CloseIdleConnections()
	s.sender.lax.CloseIdleConnections()
	return s.ledger.close()
}

// follow wakes the lanes of sessions that have news.
func (s *Service) follow(ctx context.Context, feed *sessions.Feed) {
	for _, session := range s.options.Manager.Sessions() {
		s.wake(ctx, session)
	}
	for {
		events, err := feed.Next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return // the server ends
		}
		if err != nil {
			s.options.Logger.Error("webhook: read events", zap.Error(err))
			if s.wait(ctx, schedule[0]) != nil {
				return
			}
			continue
		}
		woken := map[string]bool{}
		for _, event := range events {
			if event.Kind == sessions.KindCreated {
				s.forgetDeleted()
			}
			if woken[event.Session] {
				continue
			}
			woken[event.Session] = true
			if session, err := s.options.Manager.Session(event.Session); err == nil {
				s.wake(ctx, session)
			}
		}
	}
}

func (s *Service) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-s.clock.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wake lets the lanes of a session look for events.
func (s *Service) wake(ctx context.Context, session *sessions.Session) {
	lanes, known := s.lanes[session]
	if !known {
		var err error
		if lanes, err = s.open(ctx, session); err != nil {
			s.options.Logger.Error("webhook: read progress", zap.Error(err))
			return // the next event tries again
		}
		s.lanes[session] = lanes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lanes {
		if l.running {
			l.news = true
			continue
		}
		l.running = true
		ctx, cancel := context.WithCancel(ctx)
		l.cancel = cancel
		s.work.Go(func() {
			defer cancel()
			l.run(ctx)
		})
	}
}

// open makes the lanes of a session from what is stored.
func (s *Service) open(ctx context.Context, session *sessions.Session) ([]*lane, error) {
	webhooks := s.options.Endpoints(session)
	if len(webhooks) == 0 {
		return nil, nil
	}
	rows, err := s.options.Manager.Deliveries().List(ctx, session.Key())
	if err != nil {
		return nil, err
	}
	lanes := make([]*lane, len(webhooks))
	for i, webhook := range webhooks {
		lanes[i] = &lane{service: s, session: session, webhook: webhook, state: store.Delivery{Session: session.Key(), Receiver: i}}
	}
	for _, row := range rows {
		if row.Receiver < len(lanes) {
			lanes[row.Receiver].state = row
		}
	}
	return lanes, nil
}

// rest tells whether a lane that found nothing may end.
func (s *Service) rest(l *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.running, l.news = l.news, false
	return !l.running
}

// lives tells whether a session is still there; its id may belong to another one by now.
func (s *Service) lives(session *sessions.Session) bool {
	found, err := s.options.Manager.Session(session.ID())
	return err == nil && found == session
}

// forgetDeleted ends the lanes of sessions that are gone.
func (s *Service) forgetDeleted() {
	for session, lanes := range s.lanes {
		if s.lives(session) {
			continue
		}
		delete(s.lanes, session)
		for _, l := range lanes {
			if l.cancel != nil {
				l.cancel()
			}
		}
	}
}
