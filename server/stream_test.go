package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
)

func TestGrantRefusals(t *testing.T) {
	a := serve(t, Options{})
	a.create("one")
	tests := []struct{ body, kind, field string }{
		{`{"steps": 0}`, "greater_than", "steps"},
		{`{"steps": -1}`, "greater_than", "steps"},
		{`{"steps": 1.5}`, "int_from_float", "steps"},
		{`{"steps": "x"}`, "int_parsing", "steps"},
		{`{}`, "missing", "steps"},
		{`{"steps": 1, "timeout": "soon"}`, "float_parsing", "timeout"},
	}
	for _, test := range tests {
		r := a.request("POST", "/sessions/one/steps", test.body)
		problems := read[map[string][]Problem](t, r, http.StatusUnprocessableEntity)["detail"]
		require.Len(t, problems, 1, test.body)
		assert.Equal(t, test.kind, problems[0].Type, test.body)
		assert.Equal(t, []any{"body", test.field}, problems[0].Loc, test.body)
	}
	assert.JSONEq(t, `{"detail":[{"type":"greater_than","loc":["body","steps"],"msg":"Input should be greater than 0","input":0,"ctx":{"gt":0}}]}`,
		a.request("POST", "/sessions/one/steps", `{"steps": 0}`).body)
	assert.Zero(t, a.get("one").AllowedSteps, "nothing was granted")
}

func TestGrantTimeout(t *testing.T) {
	a := serve(t, Options{})
	gate := fixture.NewGate(t, a.files)
	a.create("one")
	g := a.grant("one", map[string]any{"steps": 3, "timeout": 0})
	assert.Equal(t, grantResult{Granted: 3, TimedOut: true}, g.Result)
	assert.Equal(t, "running", g.Status.Status)
	assert.Equal(t, int64(3), g.Status.RemainingSteps)
	gate.Open(3)
	a.wait("one", func(s sessions.Snapshot) bool { return s.State == sessions.Paused })
	assert.Equal(t, int64(3), a.get("one").LastCheckpointStep, "training went on")
}

func TestGrantsAreIdempotentByKey(t *testing.T) {
	a := serve(t, Options{})
	a.create("one")
	for range 3 {
		g := a.grant("one", map[string]any{"steps": 2}, "Idempotency-Key", "first")
		assert.Equal(t, grantResult{Granted: 2, Consumed: true}, g.Result)
	}
	// The key must have been copied out of the request it came with.
	assert.Equal(t, int64(4), a.grant("one", map[string]any{"steps": 2}, "Idempotency-Key", "other").Status.CompletedSteps)
	assert.Equal(t, int64(4), a.grant("one", map[string]any{"steps": 2}, "Idempotency-Key", "first").Status.CompletedSteps)
	refused := a.request("POST", "/sessions/one/steps", map[string]any{"steps": 5}, "Idempotency-Key", "first")
	assert.Equal(t, http.StatusUnprocessableEntity, refused.status)
	for _, text := range []string{`["header","Idempotency-Key"]`, "it was for 2 steps", "this request is for 5"} {
		assert.Contains(t, refused.body, text)
	}
	assert.Equal(t, int64(4), a.get("one").CompletedSteps)
}

func TestAbortEndsAWaitingGrant(t *testing.T) {
	a := serve(t, Options{})
	fixture.NewGate(t, a.files)
	a.create("one")
	answer := make(chan granted, 1)
	go func() { answer <- a.grant("one", map[string]any{"steps": 3}) }()
	a.wait("one", func(s sessions.Snapshot) bool { return s.State == sessions.Running })
	assert.Equal(t, http.StatusAccepted, a.request("POST", "/sessions/one/abort", nil).status)
	g := <-answer
	assert.Equal(t, int64(3), g.Result.Granted)
	assert.False(t, g.Result.Consumed)
	assert.False(t, g.Result.TimedOut)
}

func TestLogs(t *testing.T) {
	a := serve(t, Options{})
	a.create("one", "maxSteps", 2)
	plain := a.open("GET", "/sessions/one/logs/stream", nil)
	assert.Equal(t, "text/plain; charset=utf-8", plain.Header.Get("Content-Type"))
	events := a.open("GET", "/sessions/one/logs/stream", nil, "Accept", "text/event-stream")
	assert.Equal(t, "text/event-stream", events.Header.Get("Content-Type"))
	a.grant("one", map[string]any{"steps": 2})

	text, err := io.ReadAll(plain.Body)
	require.NoError(t, err, "the stream ends with the session")
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	all := read[struct {
		ID   string   `json:"session_id"`
		Logs []string `json:"logs"`
	}](t, a.request("GET", "/sessions/one/logs", nil), http.StatusOK)
	assert.Equal(t, "one", all.ID)
	assert.Equal(t, all.Logs, lines)
	messages := readMessages(t, events.Body, func(message) bool { return false })
	require.Len(t, messages, len(lines), "every reader gets every line")
	for i, m := range messages {
		assert.Equal(t, message{strconv.Itoa(i + 1), "log", lines[i]}, m)
	}
	rest := a.open("GET", "/sessions/one/logs/stream", nil, "Accept", "text/event-stream", "Last-Event-ID", "2")
	assert.Equal(t, messages[2:], readMessages(t, rest.Body, func(message) bool { return false }), "a broken stream continues")
	limited := read[map[string]any](t, a.request("GET", "/sessions/one/logs?limit=1", nil), http.StatusOK)
	assert.Equal(t, []any{lines[len(lines)-1]}, limited["logs"])
	assert.Equal(t, http.StatusUnprocessableEntity, a.request("GET", "/sessions/one/logs?limit=x", nil).status)
}

func TestDeleteEndsStreams(t *testing.T) {
	a := serve(t, Options{})
	a.create("one")
	logs := a.open("GET", "/sessions/one/logs/stream", nil)
	events := a.open("GET", "/sessions/one/events", nil, "Accept", "text/event-stream")
	assert.Equal(t, http.StatusNoContent, a.request("DELETE", "/sessions/one", nil).status)
	for _, response := range []*http.Response{logs, events} {
		_, err := io.ReadAll(response.Body)
		assert.NoError(t, err)
	}
}

func TestEvents(t *testing.T) {
	a := serve(t, Options{})
	a.create("one")
	a.grant("one", map[string]any{"steps": 3})
	page := func(query string) []sessions.Event {
		return read[struct{ Events []sessions.Event }](t, a.request("GET", "/sessions/one/events"+query, nil), http.StatusOK).Events
	}
	all := page("")
	require.Greater(t, len(all), 5)
	for i, event := range all {
		require.Equal(t, int64(i+1), event.Index)
	}
	assert.Equal(t, all[3:], page("?since=3"))
	assert.Equal(t, all[3:5], page("?since=3&limit=2"))
	assert.Empty(t, page(fmt.Sprintf("?since=%d", len(all))))
	assert.Equal(t, http.StatusUnprocessableEntity, a.request("GET", "/sessions/one/events?since=x", nil).status)

	for _, test := range []struct {
		query   string
		headers []string
		after   int
	}{
		{"", nil, 0},
		{"?since=2", nil, 2},
		{"", []string{"Last-Event-ID", "4"}, 4},
		{"?since=2", []string{"Last-Event-ID", "4"}, 4},
	} {
		response := a.open("GET", "/sessions/one/events"+test.query, nil, append(test.headers, "Accept", "text/event-stream")...)
		messages := readMessages(t, response.Body, func(m message) bool { return m.id == strconv.Itoa(len(all)) })
		require.NoError(t, response.Body.Close())
		require.Len(t, messages, len(all)-test.after)
		for i, m := range messages {
			var event sessions.Event
			require.NoError(t, json.Unmarshal([]byte(m.data), &event))
			assert.Equal(t, all[test.after+i], event)
			assert.Equal(t, string(event.Kind), m.event)
		}
	}
}

func TestFixedAnswers(t *testing.T) {
	a := serve(t, Options{})
	const notFound = `{"detail":"session not found"}`
	tests := []struct {
		method, path string
		headers      []string
		status       int
		body         string // empty: not checked
	}{
		{"GET", "/health", nil, 200, `{"mode":"unified","status":"healthy"}`},
		{"GET", "/sessions/x", nil, 404, `{"detail":"'unknown session \"x\"'"}`},
		{"GET", "/sessions/%2e%2e%2fetc", nil, 404, `{"detail":"'unknown session \"../etc\"'"}`},
		{"POST", "/sessions/x/steps", nil, 404, notFound},
		{"POST", "/sessions/x/abort", nil, 404, notFound},
		{"DELETE", "/sessions/x", nil, 404, notFound},
		{"GET", "/sessions/x/logs", nil, 404, notFound},
		{"GET", "/sessions/x/logs/stream", nil, 404, notFound},
		{"GET", "/sessions/x/events", nil, 404, notFound},
		{"POST", "/sessions/x/epochs", nil, 410, `{"detail":"Epoch-based control has been replaced. Use POST /sessions/{session_id}/steps instead."}`},
		{"GET", "/nothing", nil, 404, `{"detail":"Not Found"}`},
		{"PUT", "/sessions", nil, 405, `{"detail":"Method Not Allowed"}`},
		{"GET", "/sessions", []string{"Host", "evil.example.org"}, 403, ""},
		{"GET", "/nothing", []string{"Host", "evil.example.org"}, 403, ""},
		{"POST", "/sessions", []string{"Origin", "http://evil.example.org"}, 403, ""},
		{"GET", "/sessions", []string{"Origin", "null"}, 403, ""},
		{"GET", "/sessions", []string{"Origin", "http://localhost:3000"}, 200, "{}"},
	}
	for _, test := range tests {
		r := a.request(test.method, test.path, nil, test.headers...)
		assert.Equal(t, test.status, r.status, "%s %s", test.method, test.path)
		assert.Contains(t, r.header.Get("Content-Type"), "application/json", test.path)
		if test.body != "" {
			assert.JSONEq(t, test.body, r.body, test.path)
		}
	}
}

func TestToken(t *testing.T) {
	a := serve(t, Options{Token: "secret", Hosts: []string{"train.example.org"}})
	for _, test := range []struct {
		path    string
		headers []string
		status  int
	}{
		{"/health", nil, 200},
		{"/sessions", nil, 401},
		{"/nothing", nil, 401},
		{"/sessions", []string{"Authorization", "Bearer wrong"}, 401},
		{"/sessions", []string{"Authorization", "secret"}, 401},
		{"/sessions", []string{"Authorization", "Bearer secret"}, 200},
		{"/sessions", []string{"Authorization", "Bearer secret", "Host", "train.example.org"}, 200},
		{"/sessions", []string{"Authorization", "Bearer secret", "Host", "evil.example.org"}, 403},
	} {
		r := a.request("GET", test.path, nil, test.headers...)
		assert.Equal(t, test.status, r.status, "%s %v", test.path, test.headers)
		if test.status == 401 {
			assert.Equal(t, "Bearer", r.header.Get("WWW-Authenticate"))
		}
	}
}
