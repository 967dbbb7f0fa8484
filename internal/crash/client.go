package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/stepd/stepd/internal/trial"
	"github.com/stepd/stepd/sessions"
)

// closing asks for a connection of its own: the server of the next request is another one.
func closing() http.Header { return http.Header{"Connection": {"close"}} }

func (s *target) json(ctx context.Context, method, path string, body, reply any) error {
	return trial.JSON(ctx, method, "http://"+s.address+path, closing(), body, reply)
}

// status is what the loop wants to know of a session.
type status struct {
	Status    string  `json:"status"`
	Completed int64   `json:"completed_steps"`
	Allowed   int64   `json:"allowed_steps"`
	Error     *string `json:"error"`
}

func (s *target) status(ctx context.Context, id string) (status, error) {
	var now status
	err := s.json(ctx, "GET", "/sessions/"+id, nil, &now)
	if err == nil && now.Status == "" {
		err = fmt.Errorf("session %s: the answer has no status", id)
	}
	if err == nil && now.Status == string(sessions.Failed) {
		reason := "it does not say why"
		if now.Error != nil {
			reason = *now.Error
		}
		err = fmt.Errorf("session %s failed: %s", id, reason)
	}
	if err == nil && now.Completed > now.Allowed && now.Status != string(sessions.Initializing) {
		err = fmt.Errorf("session %s has trained %d of %d allowed steps", id, now.Completed, now.Allowed)
	}
	return now, err
}

// events returns all events after an index.
func (s *target) events(ctx context.Context, id string, after int64) ([]sessions.Event, error) {
	var all []sessions.Event
	for {
		var page struct{ Events []sessions.Event }
		if err := s.json(ctx, "GET", fmt.Sprintf("/sessions/%s/events?since=%d", id, after), nil, &page); err != nil {
			return nil, err
		}
		if len(page.Events) == 0 {
			return all, nil
		}
		all = append(all, page.Events...)
		after = page.Events[len(page.Events)-1].Index
	}
}

// grant asks for steps twice with one key: the second request must add nothing.
func (s *target) grant(ctx context.Context, id, key string, steps int64) error {
	header := closing()
	header.Set("Idempotency-Key", key)
	for i := range 2 {
		var answer struct {
			Result *struct{ Granted int64 }
		}
		err := trial.JSON(ctx, "POST", "http://"+s.address+"/sessions/"+id+"/steps", header, map[string]any{"steps": steps, "timeout": 0}, &answer)
		switch {
		case err != nil:
			return err
		case answer.Result == nil:
			return fmt.Errorf("grant %d of %d steps: the answer has no result", i+1, steps)
		case answer.Result.Granted != steps:
			return fmt.Errorf("grant %d of %d steps: %d were granted", i+1, steps, answer.Result.Granted)
		}
	}
	return nil
}

func (s *target) startTraining(ctx context.Context, form map[string]string) (string, error) {
	return trial.StartTraining(ctx, "http://"+s.address, closing(), form)
}
