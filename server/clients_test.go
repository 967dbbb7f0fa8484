package server

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

// exchange is a request that a client of the original makes, and what that client takes from the answer.
type exchange struct {
	method, path string
	body         any // formBody: sent as multipart; string: as it is; others: as JSON
	status       int // 0: 200
	media        string
	// reads are the fields that the client reads; "a.b[].c" is c in every element of the list b of a, which has some.
	reads []string
	// says are texts that the client looks for.
	says []string
}

// formBody is the body of an HTML form, in which names may have dashes.
type formBody map[string]string

// play sends the exchanges one after the other. JOB, DIR and OUT stand for the id of the current job, the folder of the
// configurations and that of the runs.
func (a *api) play(t *testing.T, exchanges []exchange) {
	t.Helper()
	id := ""
	if session := a.server.currentJob(); session != nil {
		id = session.ID()
	}
	fill := strings.NewReplacer("JOB", id, "DIR", a.server.options.Configs.Dir(), "OUT", a.files.Output)
	for _, e := range exchanges {
		r := a.exchange(fill, e)
		what := e.method + " " + e.path
		if !assert.Equal(t, cmp.Or(e.status, http.StatusOK), r.status, "%s: %s", what, r.body) {
			continue
		}
		media := cmp.Or(e.media, mediaJSON)
		assert.True(t, strings.HasPrefix(r.header.Get("Content-Type"), media), "%s answers %s", what, r.header.Get("Content-Type"))
		for _, text := range e.says {
			assert.Contains(t, r.body, fill.Replace(text), what)
		}
		if len(e.reads) == 0 {
			continue
		}
		var value any
		require.NoError(t, json.Unmarshal([]byte(r.body), &value), "%s: %s", what, r.body)
		for _, field := range e.reads {
			assert.True(t, readable(value, strings.Split(field, ".")), "%s: the client reads %s of %s", what, field, r.body)
		}
	}
}

func (a *api) exchange(fill *strings.Replacer, e exchange) reply {
	a.t.Helper()
	path := fill.Replace(e.path)
	switch body := e.body.(type) {
	case nil:
		return a.request(e.method, path, nil)
	case formBody:
		fields := options{}
		for name, value := range body {
			fields[name] = fill.Replace(value)
		}
		text, kind := multipartForm(a.t, fields)
		return a.request(e.method, path, text, "Content-Type", kind)
	case string:
		return a.request(e.method, path, body)
	}
	data, err := json.Marshal(e.body)
	require.NoError(a.t, err)
	return a.request(e.method, path, fill.Replace(string(data)), "Content-Type", mediaJSON)
}

// readable tells whether a value has a field.
func readable(value any, way []string) bool {
	if len(way) == 0 {
		return true
	}
	name, each := strings.CutSuffix(way[0], "[]")
	if name != "" {
		object, ok := value.(map[string]any)
		if value, ok = object[name]; !ok {
			return false
		}
	}
	if !each {
		return readable(value, way[1:])
	}
	list, ok := value.([]any)
	return ok && len(list) > 0 && !slices.ContainsFunc(list, func(item any) bool { return !readable(item, way[1:]) })
}

// Everything that SimpleTuner's web interface, its tutorial and its recorded exchanges ask for is answered as they read it:
// before the first job, while one runs, when it has ended, and after the configurations have been worked on.
func TestClientsOfTheOriginal(t *testing.T) {
	a := serve(t, Options{CheckReceiver: func(context.Context, job.Webhook) []job.Problem { return nil }})
	t.Run("idle", func(t *testing.T) { a.play(t, idleExchanges) })
	t.Run("environments", func(t *testing.T) { a.play(t, environmentExchanges) })
	t.Run("files", func(t *testing.T) { a.play(t, fileExchanges) })

	gate := fixture.NewGate(t, a.files)
	stream := a.open("GET", "/api/events", nil)
	start := formBody{}
	for name, value := range a.fastPath(options{"output_dir": filepath.Join(a.files.Output, "run"), "validation_preview": "true",
		"validation_preview_steps": "2", "checkpoint_step_interval": "6"}) {
		start["--"+name] = value
	}
	a.play(t, []exchange{
		{method: "POST", path: "/api/training/validate", body: start, media: mediaHTML, says: []string{"alert alert-", "</h6>"}},
		{method: "POST", path: "/api/training/start", body: start, media: mediaHTML, says: []string{"alert-info", "Training Starting", "Job ID: "}},
	})
	session := a.server.currentJob()
	require.NotNil(t, session)
	gate.Open(3)
	a.wait(session.ID(), func(s sessions.Snapshot) bool { return s.Completed == 3 })
	t.Run("training", func(t *testing.T) { a.play(t, trainingExchanges) })
	gate.Open(100)
	a.waitState(session.ID(), sessions.Completed)
	t.Run("ended", func(t *testing.T) { a.play(t, endedExchanges) })
	t.Run("stream", func(t *testing.T) { readsOfTheWebInterface(t, stream) })
}

// readsOfTheWebInterface follows the stream of a whole run as SimpleTuner's web interface does.
func readsOfTheWebInterface(t *testing.T, stream *http.Response) {
	assert.Equal(t, mediaEvents, strings.TrimSuffix(stream.Header.Get("Content-Type"), "; charset=utf-8"))
	messages := readMessages(t, stream.Body, func(m message) bool { return m.event == "training.status" && strings.Contains(m.data, `"completed"`) })
	seen := map[string]int{}
	for _, m := range messages {
		seen[m.event]++
		reads, known := streamedReads[m.event]
		if !assert.True(t, known, "the web interface listens to no %q", m.event) {
			continue
		}
		var value any
		require.NoError(t, json.Unmarshal([]byte(m.data), &value))
		for _, field := range reads {
			assert.True(t, readable(value, strings.Split(field, ".")), "%s: the client reads %s of %s", m.event, field, clip(m.data))
		}
	}
	for event := range streamedReads {
		if event != "error" && event != "heartbeat" { // a run that goes well, and is over before the first heartbeat
			assert.Positive(t, seen[event], "%s of %v", event, seen)
		}
	}
}

// A path with a slash too many, or one too few, leads to the right one on every route, with the same method and query.
func TestSlashes(t *testing.T) {
	a := serve(t, Options{})
	for _, route := range routes {
		path := toggleSlash(route.concrete())
		if isRoute(path) {
			continue
		}
		r := a.raw(route.Method + " " + path + "?a=b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		if assert.Equal(t, http.StatusTemporaryRedirect, r.status, "%s %s", route.Method, path) {
			assert.Equal(t, route.concrete()+"?a=b", r.header.Get("Location"), path)
		}
	}
}
