package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/fasthttp/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// previewed are the tutorial's options of previews.
var previewed = options{"validation_preview": "true", "validation_preview_steps": "4", "validation_num_inference_steps": "20",
	"validation_step_interval": "5", "checkpoint_step_interval": "6", "validation_disable_unconditional": "true"}

func TestIdle(t *testing.T) {
	a := serve(t, Options{})
	assert.JSONEq(t, `{"status":"idle","config":{},"job_id":null,"job_info":null,"progress":null,"startup_progress":{}}`,
		a.request("GET", "/api/training/status", nil).body)
	assert.JSONEq(t, `{"events":[],"job_id":null}`, a.request("GET", "/api/training/events", nil).body)
	assert.JSONEq(t, `{"message":"No active training job to stop"}`, a.request("POST", "/api/training/stop", nil).body)
	assert.Contains(t, a.request("POST", "/api/training/cancel", nil).body, "</i> No Active Training</h6>")
	for _, path := range []string{"validation/run", "checkpoint/run"} {
		r := a.request("POST", "/api/training/"+path, nil)
		assert.Equal(t, http.StatusBadRequest, r.status)
		assert.JSONEq(t, `{"detail":"No active training job"}`, r.body)
	}
	assert.JSONEq(t, `{"error":"No output directory specified","checkpoints":[]}`, a.request("GET", "/api/training/checkpoints", nil).body)
	assert.JSONEq(t, `{"valid":false,"message":"No output directory specified"}`, a.request("GET", "/api/training/checkpoints/validate/checkpoint-1", nil).body)
	assert.JSONEq(t, `{"jobs":[],"count":0}`, a.request("GET", "/api/queue", nil).body)
	assert.Equal(t, http.StatusNotFound, a.request("GET", "/api/training/events/stream", nil).status, "neither WebSocket nor SSE")
	assert.Equal(t, http.StatusUnprocessableEntity, a.request("GET", "/api/training/events?since_index=x", nil).status)
}

// A whole life: start, steps, previews, pictures, checkpoints, end; by status, events, SSE, WebSocket and the global stream.
func TestLifeOfATraining(t *testing.T) {
	a := serve(t, Options{})
	gate := fixture.NewGate(t, a.files)
	require.Contains(t, a.post("validate", a.fastPath(previewed)).body, "Configuration Valid")
	socket := a.dial()
	id := a.start(a.fastPath(previewed))
	gate.Open(3)
	a.wait(id, func(s sessions.Snapshot) bool { return s.Completed == 3 })
	soon(t, func() bool { return len(a.trainingStatus().Startup) == 0 }, "stages are over when steps come")
	now := a.trainingStatus()
	assert.Equal(t, "running", now.Status)
	assert.Equal(t, id, *now.JobID)
	assert.Equal(t, &jobInfo{Status: "running"}, now.JobInfo)
	require.NotNil(t, now.Progress)
	assert.Equal(t, 25.0, now.Progress.Percent)
	assert.Equal(t, []int64{3, 12, 1, 3}, []int64{now.Progress.Step, now.Progress.TotalSteps, now.Progress.Epoch, now.Progress.TotalEpochs})
	assert.Positive(t, now.Progress.Loss)
	assert.Equal(t, 1e-4, now.Progress.LearningRate)
	var config map[string]any
	require.NoError(t, json.Unmarshal(now.Config, &config))
	assert.Equal(t, []any{"pixart_sigma", 12.0, "constant_with_warmup"}, []any{config["--model_family"], config["--max_train_steps"], config["--lr_scheduler"]})

	seen := a.eventsSince("?since_index=0")
	gate.Open(9)
	a.waitState(id, sessions.Completed)
	now = a.trainingStatus()
	assert.Equal(t, "completed", now.Status)
	assert.Equal(t, &jobInfo{Status: "completed"}, now.JobInfo)
	assert.Equal(t, id, *now.JobID, "readable after the end")
	assert.Equal(t, 100.0, now.Progress.Percent)
	assert.Empty(t, now.Startup)

	later := a.eventsSince(fmt.Sprintf("?since_index=%d", *seen.Next))
	events := append(seen.Events, later.Events...)
	assert.Equal(t, a.eventsSince("").Events, events, "pages have no gap")
	assert.Equal(t, int64(len(events)), *later.Next)
	assert.Equal(t, listed{Events: []happening{}, JobID: &id, Next: ptr(int64(9999))}, a.eventsSince("?since_index=9999"), "beyond the end")
	checkLife(t, events)
	a.checkStreams(t, socket, id, events)
}

func ptr[T any](value T) *T { return &value }

// checkLife checks the list of a training of 12 steps with previewed pictures.
func checkLife(t *testing.T, events []happening) {
	t.Helper()
	var steps []any
	for _, e := range havingType(events, typeStatus) {
		steps = append(steps, e.data("global_step"))
	}
	assert.Equal(t, []any{1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 12.0}, steps, "each step, and the end")
	last := events[len(events)-1]
	assert.Equal(t, []any{typeState, "completed", "0"}, []any{last["type"], last.data("status"), last.data("result")})
	assert.IsType(t, 0.0, last["timestamp"], "states carry seconds")
	statuses := havingType(events, typeStatus)
	assert.Equal(t, "completed", statuses[len(statuses)-1].data("status"))

	previews := havingType(events, typePreview)
	require.NotEmpty(t, previews)
	var labels []any
	for _, e := range previews[:6] {
		labels = append(labels, e.data("step_label"))
	}
	assert.Equal(t, []any{"1/20", "5/20", "9/20", "13/20", "17/20", "20/20"}, labels)
	second := previews[1]
	assert.Equal(t, "Validation (step 5/20): validation", second["title"])
	assert.Equal(t, second["title"], second["message"])
	assert.Equal(t, "a red square", second["body"])
	assert.Equal(t, []any{5.0, []any{128.0, 128.0}, "intermediary", "a red square"},
		[]any{second.data("step"), second.data("resolution"), second.data("validation_type"), second.data("prompt")})
	assert.IsType(t, 0.0, second.data("timestep"))
	for _, e := range append(previews, havingType(events, typeValidation)...) {
		pictures, _ := e["images"].([]any)
		require.Len(t, pictures, 1)
		picture, _ := pictures[0].(map[string]any)
		assert.Equal(t, "image/png", picture["mime_type"])
		assert.True(t, strings.HasPrefix(picture["src"].(string), "data:image/png;base64,iVBOR"))
	}
	assert.NotEmpty(t, havingType(events, typeValidation))
	checkpoints := havingType(events, typeCheckpoint)
	require.Len(t, checkpoints, 2)
	final, _ := checkpoints[1]["checkpoint"].(map[string]any)
	assert.Equal(t, true, final["is_final"])
	assert.DirExists(t, final["path"].(string))
	stages := map[any]bool{}
	for _, e := range havingType(events, typeStage) {
		stage, _ := e["stage"].(map[string]any)
		stages[stage["key"]] = true
	}
	for _, key := range []string{"init_data_backend", "init_load_base_model", "init_text_embed_cache", "init_vae_cache"} {
		assert.True(t, stages[key], key)
	}
}

// frame is a message of the stream of a job.
type frame struct {
	JobID string    `json:"job_id"`
	Event happening `json:"event"`
}

// dial connects a WebSocket to the stream.
func (a *api) dial(headers ...string) *websocket.Conn {
	a.t.Helper()
	header := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	conn, _, err := websocket.DefaultDialer.DialContext(testContext(a.t), "ws://"+a.address+"/api/training/events/stream", header)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// frames reads this many frames of a WebSocket.
func frames(t *testing.T, conn *websocket.Conn, count int) (found []frame) {
	t.Helper()
	deadline, _ := testContext(t).Deadline()
	require.NoError(t, conn.SetReadDeadline(deadline))
	for range count {
		var f frame
		require.NoError(t, conn.ReadJSON(&f))
		found = append(found, f)
	}
	return found
}

// checkStreams compares what streams tell with the list of events.
func (a *api) checkStreams(t *testing.T, early *websocket.Conn, id string, events []happening) {
	t.Helper()
	for name, conn := range map[string]*websocket.Conn{"connected before the job": early, "connected after its end": a.dial()} {
		for i, f := range frames(t, conn, len(events)) {
			assert.Equal(t, frame{JobID: id, Event: events[i]}, f, "WebSocket %s", name)
		}
	}
	stream := a.open("GET", "/api/training/events/stream", nil, "Accept", "text/event-stream")
	defer func() { assert.NoError(t, stream.Body.Close()) }()
	assert.Equal(t, "text/event-stream", stream.Header.Get("Content-Type"))
	count := 0
	for _, m := range readMessages(t, stream.Body, func(message) bool { count++; return count == len(events) }) {
		var f frame
		require.NoError(t, json.Unmarshal([]byte(m.data), &f))
		assert.Equal(t, id, f.JobID)
		assert.NotEmpty(t, m.id)
	}

	global := a.globalStream(t, "", len(events)+1)
	assert.Equal(t, "connection", global[0].event)
	names := map[string]int{}
	for _, m := range global[1:] {
		names[m.event]++
		assert.NotEmpty(t, m.id)
	}
	assert.Equal(t, 12, names["training.progress"])
	assert.Equal(t, 2, names["callback:checkpoint"])
	for _, name := range []string{"lifecycle.stage", "training.status", "notification", "callback:validation", "callback:debug"} {
		assert.Positive(t, names[name], name)
	}
	middle := global[len(global)/2]
	assert.Equal(t, global[len(global)/2+1:], a.globalStream(t, middle.id, len(global)-len(global)/2)[1:], "continued after Last-Event-ID")
	a.checkPolls(t, global[1:])
}

// globalStream reads this many messages of /api/events, the greeting among them.
func (a *api) globalStream(t *testing.T, last string, count int) []message {
	t.Helper()
	stream := a.open("GET", "/api/events", nil, "Last-Event-ID", last)
	defer func() { assert.NoError(t, stream.Body.Close()) }()
	return readMessages(t, stream.Body, func(message) bool { count--; return count == 0 })
}

func (a *api) checkPolls(t *testing.T, global []message) {
	t.Helper()
	var polled []json.RawMessage
	next := int64(0)
	for len(polled) < len(global) {
		answer := read[broadcast](t, a.request("GET", fmt.Sprintf("/broadcast?last_event_index=%d&timeout=5", next), nil), http.StatusOK)
		require.NotEmpty(t, answer.Events)
		polled, next = append(polled, answer.Events...), answer.NextIndex
	}
	for i, m := range global {
		assert.JSONEq(t, m.data, string(polled[i]))
	}
	nothing := read[broadcast](t, a.request("GET", fmt.Sprintf("/broadcast?last_event_index=%d&timeout=0", next), nil), http.StatusOK)
	assert.Equal(t, broadcast{Events: []json.RawMessage{}, NextIndex: next}, nothing)
	page := a.request("GET", "/api/events/recent", nil)
	assert.Contains(t, page.body, `<ul class="list-group event-list">`)
	assert.Contains(t, page.body, "Training completed at step 12")
}

func TestForeignPagesCannotListen(t *testing.T) {
	a := serve(t, Options{})
	for _, path := range []string{"/api/training/events/stream", "/api/events"} {
		r := a.request("GET", path, nil, "Origin", "http://example.com", "Accept", "text/event-stream")
		assert.Equal(t, http.StatusForbidden, r.status, path)
	}
	_, response, err := websocket.DefaultDialer.DialContext(testContext(t), "ws://"+a.address+"/api/training/events/stream",
		http.Header{"Origin": []string{"http://example.com"}})
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, response.StatusCode)
	a.dial("Origin", "http://localhost:3000")
}

// The reason of a failure is in status and events, and stays there.
func TestFailedTraining(t *testing.T) {
	a := serveWith(t, Options{}, &fake.Engine{OnStep: func(_ context.Context, step int64) error {
		if step == 5 {
			return engine.Errorf(engine.Numeric, "the loss is not finite <b>")
		}
		return nil
	}})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Failed)
	now := a.trainingStatus()
	assert.Equal(t, "error", now.Status)
	assert.Equal(t, id, *now.JobID)
	assert.Nil(t, now.Progress)
	require.NotNil(t, now.JobInfo.Error)
	assert.Equal(t, []string{"failed", "error_with_details", "numeric"}, []string{now.JobInfo.Status, now.JobInfo.Detail, now.JobInfo.Error.Code})
	assert.Contains(t, now.JobInfo.Message, "the loss is not finite")
	assert.Equal(t, now.JobInfo.Message, now.JobInfo.Error.Message)
	assert.NotEmpty(t, now.JobInfo.Error.RecentLines)

	events := a.eventsSince("").Events
	failures := havingType(events, typeError)
	require.Len(t, failures, 1)
	assert.Equal(t, []any{"Fatal Error", now.JobInfo.Message}, []any{failures[0]["title"], failures[0].data("message")})
	last := events[len(events)-1]
	assert.Equal(t, []any{typeStatus, "failed", severityError}, []any{last["type"], last.data("status"), last["severity"]})
	soon(t, func() bool {
		page := a.request("GET", "/api/events/recent", nil).body
		return strings.Contains(page, "not finite &lt;b&gt;")
	}, "the list of recent events escapes")
}
