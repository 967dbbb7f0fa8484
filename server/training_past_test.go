package server

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
)

// A reader that is behind events of a deleted job goes on at once with what is in memory.
func TestPastEventsThatAreDeleted(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Completed)
	all, _, err := a.server.hub.past.read(testContext(t), a.server.hub, 0)
	require.NoError(t, err)
	assert.NotEmpty(t, all)

	require.NoError(t, a.server.options.Manager.Delete(testContext(t), id))
	h := &hub{manager: a.server.options.Manager, floor: a.server.options.Manager.LastSeq()}
	for range 2 { // the second time it is remembered
		found, upTo, err := h.past.read(testContext(t), h, 0)
		require.NoError(t, err)
		assert.Empty(t, found)
		assert.Equal(t, h.floor, upTo)
	}
	assert.Len(t, h.past.pages, 1)
}

// A client whose last event is newer than all that there are, because the data folder is an older one, is told so, and goes
// on behind the newest event instead of waiting for its number to come.
func TestLastEventThatWasLost(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Completed)
	session, err := a.server.options.Manager.Session(id)
	require.NoError(t, err)
	newest := a.server.options.Manager.LastSeq()
	for path, last := range map[string]int64{"/api/events": newest, "/api/training/events/stream": newest,
		"/sessions/" + id + "/events": session.Snapshot().LastEvent} {
		lost := strconv.FormatInt(last+5, 10)
		stream := a.open("GET", path, nil, "Accept", mediaEvents, "Last-Event-ID", lost)
		messages := readMessages(t, stream.Body, func(m message) bool { return m.event == "reset" })
		reset := messages[len(messages)-1]
		assert.Equal(t, strconv.FormatInt(last, 10), reset.id, "the id with which to come back to %s", path)
		assert.Contains(t, reset.data, `"last_event_id":`+lost)
		require.NoError(t, stream.Body.Close())

		stream = a.open("GET", path, nil, "Accept", mediaEvents, "Last-Event-ID", strconv.FormatInt(last-1, 10))
		messages = readMessages(t, stream.Body, func(m message) bool { return m.id != "" })
		assert.NotEqual(t, "reset", messages[len(messages)-1].event, path)
		require.NoError(t, stream.Body.Close())
	}
	polled := a.ok("GET", fmt.Sprintf("/broadcast?timeout=0&last_event_index=%d", newest+5), nil)
	assert.Equal(t, answer{"events": []any{}, "next_index": float64(newest)}, polled)
}

// What is known about jobs besides their snapshots is forgotten when they are over.
func TestHubForgetsJobs(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Completed)
	h := newHub(a.server.options.Manager, a.server.options.Logger)
	assert.Empty(t, h.jobs)
	h.of(sessions.Snapshot{ID: id})
	for i := range 3 * keptJobs {
		h.of(sessions.Snapshot{ID: fmt.Sprintf("gone-%d", i)})
	}
	assert.LessOrEqual(t, len(h.jobs), keptJobs)
	assert.NotContains(t, h.jobs, id)
	assert.Contains(t, h.jobs, fmt.Sprintf("gone-%d", 3*keptJobs-1))
	assert.Equal(t, http.StatusOK, a.request("GET", "/api/training/status", nil).status)
}

func TestFramesLeaveASharedListAsItIs(t *testing.T) {
	found := []entry{{seq: 1, frame: encoded{text: []byte("a")}}, {seq: 2}, {seq: 3, frame: encoded{text: []byte("b")}}}
	before := append([]entry(nil), found...)
	assert.Equal(t, []entry{before[0], before[2]}, framed(found))
	assert.Equal(t, before, found)
}
