package main

import (
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
