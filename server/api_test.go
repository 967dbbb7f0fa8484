package server

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
)

func TestLifeOfASession(t *testing.T) {
	a := serve(t, Options{})
	s := a.create("one", "maxSteps", 6)
	six := int64(6)
	assert.Equal(t, status{SessionID: "one", Status: "paused", MaxSteps: &six, Warnings: s.Warnings}, s)

	g := a.grant("one", map[string]any{"steps": 4})
	assert.Equal(t, grantResult{Granted: 4, Consumed: true}, g.Result)
	assert.Equal(t, "paused", g.Status.Status)
	assert.Equal(t, []int64{4, 4, 4, 0, 4}, []int64{g.Status.CurrentStep, g.Status.CompletedSteps, g.Status.AllowedSteps, g.Status.RemainingSteps, g.Status.LastCheckpointStep})
	require.NotNil(t, g.Status.LastStepIndex)
	assert.Equal(t, int64(3), *g.Status.LastStepIndex)
	require.NotNil(t, g.Status.LastCheckpointPath)
	assert.DirExists(t, *g.Status.LastCheckpointPath)
	assert.Contains(t, *g.Status.LastCheckpointPath, "run-one_000000004")

	g = a.grant("one", map[string]any{"steps": 100})
	assert.Equal(t, grantResult{Granted: 2, Consumed: true, AlreadyFinished: true}, g.Result, "clipped at maxSteps")
	assert.Equal(t, "completed", g.Status.Status)
	assert.True(t, g.Status.Finished)

	g = a.grant("one", map[string]any{"steps": 1})
	assert.Equal(t, grantResult{AlreadyFinished: true}, g.Result)
	run := filepath.Join(a.files.Output, "run-one")
	for _, name := range []string{"run-one/transformer", "config.yaml", "samples"} {
		_, err := os.Stat(filepath.Join(run, name))
		assert.NoError(t, err)
	}
	pictures, err := filepath.Glob(filepath.Join(run, "samples", "*__000000006_0.png"))
	require.NoError(t, err)
	assert.Len(t, pictures, 1)

	assert.Equal(t, "completed", read[status](t, a.request("POST", "/sessions/one/abort", nil), http.StatusAccepted).Status)
	assert.Equal(t, "completed", a.get("one").Status, "a terminal state never changes")
}

// held is an engine that loads no model before it is released.
type held struct {
	engine.Engine
	release chan struct{}
}

func (h held) Open(ctx context.Context, config engine.Config, sink engine.Sink) (engine.Session, error) {
	<-h.release
	return h.Engine.Open(ctx, config, sink)
}

func TestCreate(t *testing.T) {
	a := serve(t, Options{})
	t.Run("without waiting", func(t *testing.T) {
		release := make(chan struct{})
		a := serveWith(t, Options{}, held{&fake.Engine{}, release})
		s := read[status](t, a.request("POST", "/sessions?wait=false", map[string]any{"sessionId": "soon", "config": a.document("soon")}), http.StatusCreated)
		assert.Equal(t, "initializing", s.Status)
		assert.Contains(t, a.request("GET", "/sessions", nil).body, `"soon"`, "other requests do not wait either")
		close(release)
		a.wait("soon", func(s sessions.Snapshot) bool { return s.State == sessions.Paused })
	})
	t.Run("default id", func(t *testing.T) {
		s := read[status](t, a.request("POST", "/sessions", map[string]any{"config": a.document("unnamed")}), http.StatusCreated)
		assert.Regexp(t, "^[0-9a-f]{32}$", s.SessionID)
	})
	t.Run("snake case", func(t *testing.T) {
		s := read[status](t, a.request("POST", "/sessions", map[string]any{"session_id": "snake", "max_steps": 3, "config": a.document("snake")}), http.StatusCreated)
		require.NotNil(t, s.MaxSteps)
		assert.Equal(t, int64(3), *s.MaxSteps)
		assert.Equal(t, "snake", s.SessionID)
	})
	t.Run("unknown fields", func(t *testing.T) {
		document := a.document("unknown")
		document["config"].(map[string]any)["process"].([]any)[0].(map[string]any)["train"].(map[string]any)["magic"] = true
		s := read[status](t, a.request("POST", "/sessions", map[string]any{"sessionId": "unknown", "colour": "red", "config": document}), http.StatusCreated)
		text := strings.Join(s.Warnings, "\n")
		assert.Contains(t, text, "config.process[0].train.magic is not an option")
		assert.Contains(t, text, "colour is not a field")
	})
	t.Run("a slash in the id", func(t *testing.T) {
		a.create("a/../b", "config", a.document("slash"))
		assert.Equal(t, "a/../b", a.get("a%2F..%2Fb").SessionID)
		assert.NoFileExists(t, filepath.Join(a.files.Output, "b"))
	})
	t.Run("no steps at all", func(t *testing.T) {
		assert.Equal(t, "completed", a.create("nothing", "maxSteps", 0).Status)
	})
}

func TestCreateRefusals(t *testing.T) {
	a := serve(t, Options{})
	a.create("taken")
	edit := func(change func(document, process map[string]any)) map[string]any {
		document := a.document("refused")
		change(document, document["config"].(map[string]any)["process"].([]any)[0].(map[string]any))
		return map[string]any{"config": document}
	}
	tests := []struct {
		name   string
		body   any
		detail string
	}{
		{"duplicate id", map[string]any{"sessionId": "taken", "config": a.document("other")}, `session "taken" already exists`},
		{"same run folder", map[string]any{"sessionId": "second", "config": a.document("run-taken")}, "run folder is in use"},
		{"control character in the id", map[string]any{"sessionId": "a\nb", "config": a.document("other")}, "sessionId: "},
		{"name leads elsewhere", map[string]any{"config": a.document("../../etc")}, "config.name: "},
		{"no process", edit(func(document, _ map[string]any) { document["config"].(map[string]any)["process"] = []any{} }), "config did not produce any processes"},
		{"two processes", edit(func(document, p map[string]any) { document["config"].(map[string]any)["process"] = []any{p, p} }), "exactly one process"},
		{"model of the Hub", edit(func(_, p map[string]any) {
			p["model"].(map[string]any)["name_or_path"] = "black-forest-labs/FLUX.1-dev"
		}), "config.process[0].model.name_or_path: "},
		{"pictures missing", edit(func(_, p map[string]any) { p["datasets"].([]any)[0].(map[string]any)["folder_path"] = "/nonexistent" }), "folder_path: /nonexistent"},
		{"train is a word", edit(func(_, p map[string]any) { p["train"] = "fast" }), "config.process[0].train: "},
		{"negative steps", edit(func(_, p map[string]any) { p["train"].(map[string]any)["steps"] = -1 }), "config.process[0].train.steps: "},
		{"unknown optimizer", edit(func(_, p map[string]any) { p["train"].(map[string]any)["optimizer"] = "sgdx" }), "config.process[0].train.optimizer: "},
		{"NUL in a folder", edit(func(_, p map[string]any) { p["training_folder"] = "a\x00b" }), "config.process[0].training_folder: "},
		{"folder cannot be written", edit(func(_, p map[string]any) { p["training_folder"] = "/dev/null/runs" }), "config.process[0].training_folder: the run folder /dev/null/runs/"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := a.request("POST", "/sessions", test.body)
			assert.Contains(t, read[map[string]string](t, r, http.StatusBadRequest)["detail"], test.detail)
		})
	}
	assert.Len(t, read[map[string]status](t, a.request("GET", "/sessions", nil), http.StatusOK), 1, "nothing is left of what was refused")
}

func TestListAndDelete(t *testing.T) {
	a := serve(t, Options{})
	assert.Equal(t, "{}", a.request("GET", "/sessions", nil).body)
	a.create("one")
	a.create("two")
	a.grant("one", map[string]any{"steps": 1})
	all := read[map[string]status](t, a.request("GET", "/sessions", nil), http.StatusOK)
	assert.Len(t, all, 2)
	assert.Equal(t, int64(1), all["one"].CompletedSteps)
	assert.Equal(t, "two", all["two"].SessionID)

	r := a.request("DELETE", "/sessions/one", nil)
	assert.Equal(t, http.StatusNoContent, r.status)
	assert.Empty(t, r.body)
	assert.DirExists(t, filepath.Join(a.files.Output, "run-one"), "files stay")
	assert.JSONEq(t, `{"detail": "session not found"}`, a.request("DELETE", "/sessions/one", nil).body)
	assert.Equal(t, http.StatusNotFound, a.request("DELETE", "/sessions/one", nil).status)
	assert.Equal(t, "paused", a.create("one").Status, "the id can be used again")
	assert.Equal(t, int64(1), a.get("one").CompletedSteps, "the run goes on from its checkpoint")
}

func TestAbort(t *testing.T) {
	a := serve(t, Options{})
	a.create("one")
	a.grant("one", map[string]any{"steps": 2})
	for range 2 {
		s := read[status](t, a.request("POST", "/sessions/one/abort", nil), http.StatusAccepted)
		assert.Contains(t, []string{"aborting", "aborted"}, s.Status)
	}
	a.wait("one", func(s sessions.Snapshot) bool { return s.State == sessions.Aborted })
	assert.Equal(t, "aborted", read[status](t, a.request("POST", "/sessions/one/abort", nil), http.StatusAccepted).Status)
	assert.Equal(t, int64(2), a.get("one").LastCheckpointStep)
	g := a.grant("one", map[string]any{"steps": 1})
	assert.Equal(t, grantResult{AlreadyFinished: true}, g.Result)
}
