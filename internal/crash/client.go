package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"regexp"

	"github.com/stepd/stepd/sessions"
)

// call sends a request and returns the answer's body; anything but success is an error.
func (s *target) call(ctx context.Context, method, path, kind string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Close = true // the server of the next request is another one
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, err
	}
	if reply.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, reply.Status, data)
	}
	return data, nil
}

func (s *target) json(ctx context.Context, method, path string, body, reply any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	data, err := s.call(ctx, method, path, "application/json", data)
	if err != nil || reply == nil {
		return err
	}
	return json.Unmarshal(data, reply)
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
	if err == nil && now.Status == string(sessions.Failed) {
		err = fmt.Errorf("session %s failed: %s", id, *now.Error)
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
	for i := range 2 {
		body, err := json.Marshal(map[string]any{"steps": steps, "timeout": 0})
		if err != nil {
			return err
		}
		request, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.address+"/sessions/"+id+"/steps", bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Close = true
		request.Header.Set("Idempotency-Key", key)
		request.Header.Set("Content-Type", "application/json")
		reply, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		var answer struct {
			Result struct{ Granted int64 }
			Status status
		}
		err = json.NewDecoder(reply.Body).Decode(&answer)
		_ = reply.Body.Close()
		if err != nil || reply.StatusCode != http.StatusOK || answer.Result.Granted != steps {
			return fmt.Errorf("grant %d of %d steps: %s, granted %d: %w", i+1, steps, reply.Status, answer.Result.Granted, err)
		}
	}
	return nil
}

var jobID = regexp.MustCompile(`Job ID: ([0-9a-f]{8})`)

// startTraining sends a form as the tutorial of SimpleTuner's API does, and returns the id of the job.
func (s *target) startTraining(ctx context.Context, form map[string]string) (string, error) {
	var body bytes.Buffer
	writer := multipart.NewWriter(&body)
	for name, value := range form {
		if err := writer.WriteField("--"+name, value); err != nil {
			return "", err
		}
	}
	if err := writer.Close(); err != nil {
		return "", err
	}
	page, err := s.call(ctx, "POST", "/api/training/start", writer.FormDataContentType(), body.Bytes())
	if err != nil {
		return "", err
	}
	found := jobID.FindSubmatch(page)
	if found == nil {
		return "", fmt.Errorf("the training did not start: %s", page)
	}
	return string(found[1]), nil
}
