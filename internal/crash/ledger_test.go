package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/stepd/stepd/sessions"
)

// TestTheLedgerFindsWhatMustNotHappen plants violations in a history.
func TestTheLedgerFindsWhatMustNotHappen(t *testing.T) {
	granted := sessions.Event{Kind: sessions.KindGranted, Data: []byte(`{"allowed": 10}`)}
	takenBack := sessions.Event{Kind: sessions.KindState, Data: []byte(`{"allowed": 2}`)}
	step := func(text string) sessions.Event { return sessions.Event{Kind: sessions.KindStep, Data: []byte(text)} }
	tests := []struct {
		name   string
		events []sessions.Event
		want   string // "" for none
	}{
		{"in order", []sessions.Event{granted, step(`{"attempt":1,"step":1}`), step(`{"attempt":1,"step":2}`)}, ""},
		{"done again", []sessions.Event{granted, step(`{"attempt":1,"step":1}`), step(`{"attempt":2,"step":1}`)}, ""},
		{"told late", []sessions.Event{granted, step(`{"attempt":1,"step":1}`), step(`{"attempt":1,"step":2}`), takenBack,
			step(`{"attempt":1,"step":3,"recovered":true}`)}, ""},
		{"above the budget", []sessions.Event{takenBack, step(`{"attempt":1,"step":1}`), step(`{"attempt":1,"step":2}`), step(`{"attempt":1,"step":3}`)}, "budget of 2"},
		{"told late, and above every budget", []sessions.Event{takenBack, step(`{"attempt":1,"step":1}`), step(`{"attempt":1,"step":2}`),
			step(`{"attempt":1,"step":3,"recovered":true}`)}, "budget of 2"},
		{"twice", []sessions.Event{granted, step(`{"attempt":1,"step":1}`), step(`{"attempt":1,"step":1}`)}, "follows step 1 of attempt 1"},
		{"a gap", []sessions.Event{granted, step(`{"attempt":1,"step":1}`), step(`{"attempt":1,"step":3}`)}, "follows step 1 of attempt 1"},
		{"a gap between attempts", []sessions.Event{granted, step(`{"attempt":1,"step":1}`), step(`{"attempt":2,"step":3}`)}, "follows step 1 of attempt 1"},
		{"an older attempt", []sessions.Event{granted, step(`{"attempt":2,"step":1}`), step(`{"attempt":1,"step":2}`)}, "follows step 1 of attempt 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := (&ledger{events: test.events}).check()
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.want)
			}
		})
	}
}

// TestThePoliteStopIsChecked plants what a stop must not leave, or leave untold.
func TestThePoliteStopIsChecked(t *testing.T) {
	state := func(text string) sessions.Event { return sessions.Event{Kind: sessions.KindState, Data: []byte(text)} }
	step := sessions.Event{Kind: sessions.KindStep, Data: []byte(`{"attempt":1,"step":7}`)}
	saved := func(text string) sessions.Event {
		return sessions.Event{Kind: sessions.KindCheckpoint, Data: []byte(text)}
	}
	killed := state(`{"to":"interrupted","reason":"worker was killed (SIGKILL)"}`)
	running, stopped := state(`{"to":"running"}`), state(`{"to":"interrupted","completed":7}`)
	tests := []struct {
		name    string
		seen    int
		events  []sessions.Event
		checked bool
		want    string
	}{
		{"saved", 2, []sessions.Event{running, step, saved(`{"step":7,"path":"a"}`), stopped}, true, ""},
		{"not saved", 2, []sessions.Event{running, saved(`{"step":5,"path":"a"}`), step, stopped}, true, "after step 7"},
		{"nothing saved", 2, []sessions.Event{running, step, stopped}, true, "after step 7"},
		{"no step yet", 1, []sessions.Event{running, state(`{"to":"interrupted"}`)}, false, ""},
		{"completed", 1, []sessions.Event{running, state(`{"to":"completed"}`)}, false, ""},
		{"nothing told", 2, []sessions.Event{running, step}, false, "no event tells"},
		{"only an earlier stop told", 5, []sessions.Event{running, step, saved(`{"step":7,"path":"a"}`), stopped, running}, false, "no event tells"},
		{"its worker was killed before", 3, []sessions.Event{running, step, killed}, false, ""},
		{"its worker was killed meanwhile", 2, []sessions.Event{running, step, killed, running}, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			checked, err := (&ledger{events: test.events}).checkStop(test.seen)
			assert.Equal(t, test.checked, checked)
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.want)
			}
		})
	}
}

// TestTheClientSurvivesAnyAnswer has a server that answers with less than it should.
func TestTheClientSurvivesAnyAnswer(t *testing.T) {
	for answer, want := range map[string]string{`{}`: "", `null`: "", `[]`: "", ``: "", `{"status":"error"}`: "does not say why",
		`{"status":"error","error":"no space"}`: "no space", `{"status":"running","completed_steps":3,"allowed_steps":2}`: "3 of 2 allowed steps"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
		s := &target{address: server.Listener.Addr().String()}
		_, err := s.status(t.Context(), "s")
		assert.ErrorContains(t, err, want, answer)
		assert.Error(t, s.grant(t.Context(), "s", "key", 3), answer)
		_, err = s.startTraining(t.Context(), nil)
		assert.Error(t, err, answer)
		server.Close()
	}
	never := &target{}
	assert.ErrorIs(t, never.kill(t.Context()), errNotStarted)
	assert.ErrorIs(t, never.terminate(), errNotStarted)
	assert.Zero(t, never.worker())
}
