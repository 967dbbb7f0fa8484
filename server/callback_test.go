package server

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
)

// A message of another program is among the events, in the form that the web interface of SimpleTuner reads, and is not
// taken for news of a job.
func TestCallback(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Completed)
	before := a.eventsSince("").Events
	assert.Equal(t, answer{"message": "Callback received successfully"}, a.ok("POST", "/callback", answer{"type": "training.status", "job_id": id,
		"title": "Failed", "message": "all <b>lost</b>", "severity": "critical", "data": answer{"status": "failed"}, "images": []string{"aGk="}}))
	polled := a.ok("GET", fmt.Sprintf("/broadcast?last_event_index=%d&timeout=30", a.server.options.Manager.LastSeq()-1), nil)
	require.Len(t, polled["events"], 1)
	event := polled["events"].([]any)[0].(answer)
	expected := answer{"type": "training.status", "message_type": "training.status", "severity": "critical", "title": "Failed",
		"headline": "Failed", "message": "all <b>lost</b>", "body": "all <b>lost</b>", "job_id": id, "source": "callback", "images": []any{},
		"images_left_out": 1.0, "videos": []any{}, "audios": []any{}, "data": answer{"status": "failed"}, "id": polled["next_index"]}
	for key, value := range expected {
		assert.Equal(t, value, event[key], key)
	}
	assert.Equal(t, "completed", a.trainingStatus().Status, "no job is changed")
	assert.Equal(t, before, a.eventsSince("").Events)
	assert.Contains(t, a.request("GET", "/api/events/recent", nil).body, "all &lt;b&gt;lost&lt;/b&gt;")

	// Events that follow have higher numbers; readers get everything in order, also when they come back.
	second := a.start(a.fastPath(options{"output_dir": a.files.Output + "/second"}))
	a.waitState(second, sessions.Completed)
	stream := a.open("GET", "/api/events", nil)
	messages := readMessages(t, stream.Body, func(m message) bool { return m.event == "training.status" && strings.Contains(m.data, second) })
	require.NoError(t, stream.Body.Close())
	last, found := int64(0), 0
	for _, m := range messages[1:] {
		number, err := strconv.ParseInt(m.id, 10, 64)
		require.NoError(t, err, m)
		assert.Greater(t, number, last)
		last = number
		if m.event == "callback:status" {
			found++
			assert.Equal(t, event["id"], float64(number))
		}
	}
	assert.Equal(t, 1, found)
	socket := a.dial()
	for _, f := range frames(t, socket, 5) {
		assert.Equal(t, second, f.JobID)
	}
}

func TestCallbackRefusals(t *testing.T) {
	a := serve(t, Options{})
	for body, words := range map[string]string{"": "json_invalid", "nonsense": "json_invalid", "[]": "model_attributes_type",
		`{"message": 3}`: `["body","message"]`, `{"message": "` + strings.Repeat("x", largestCallback) + `"}`: "larger than"} {
		r := a.request("POST", "/callback", body)
		assert.Contains(t, []int{http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge}, r.status, words)
		assert.Contains(t, r.body, words)
	}
	assert.Zero(t, a.server.options.Manager.LastSeq(), "nothing was taken")
	a.ok("POST", "/callback", answer{})
	assert.Equal(t, int64(1), a.server.options.Manager.LastSeq(), "also before the first event")
}

// Many senders at once, while a job is trained: nothing is missing, doubled or out of order.
func TestManyCallbacks(t *testing.T) {
	a := serve(t, Options{})
	stream := a.open("GET", "/api/events", nil)
	id := a.start(a.fastPath(options{"max_train_steps": "200", "validation_disable": "true"}))
	const senders, each = 8, 10
	var group sync.WaitGroup
	for s := range senders {
		group.Go(func() {
			for i := range each {
				assert.Equal(t, http.StatusOK, a.request("POST", "/callback", answer{"message": fmt.Sprintf("%d/%d", s, i)}).status)
			}
		})
	}
	group.Wait()
	a.waitState(id, sessions.Completed)
	session, err := a.server.options.Manager.Session(id)
	require.NoError(t, err)
	want := int(session.Snapshot().LastEvent) + senders*each
	count, calls, last := 0, 0, int64(0)
	readMessages(t, stream.Body, func(m message) bool {
		if m.id == "" {
			return false // the greeting
		}
		number, err := strconv.ParseInt(m.id, 10, 64)
		require.NoError(t, err)
		require.Greater(t, number, last)
		last = number
		if count++; strings.HasPrefix(m.event, "callback:status") {
			calls++
		}
		return count == want
	})
	assert.Equal(t, senders*each, calls)
}
