package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	training "github.com/stepd/stepd/sessions/run"
)

// What a run says while it trains is shown, for example that it waits for a full disk.
func TestWarningsOfARunAreShown(t *testing.T) {
	data, err := json.Marshal(sessions.MessageEvent{Message: "the disk is full"})
	require.NoError(t, err)
	for asJSON, want := range map[bool]string{false: "warning: the disk is full\n", true: `{"message":"the disk is full","type":"warning"}` + "\n"} {
		var out bytes.Buffer
		done, err := newDisplay(&out, &job.Job{}, asJSON).event(sessions.Event{Kind: sessions.KindWarning, Data: data})
		require.NoError(t, err)
		assert.False(t, done)
		assert.Equal(t, want, out.String())
	}
}

func TestEvaluationsAreShown(t *testing.T) {
	pooled := 0.25
	data, err := json.Marshal(sessions.EvaluationEvent{Step: 5, Losses: []training.DatasetLoss{{Dataset: "own", Loss: 0.5, Pictures: 3}}, Pooled: &pooled})
	require.NoError(t, err)
	failed, err := json.Marshal(sessions.MessageEvent{Message: "no memory"})
	require.NoError(t, err)
	tests := []struct {
		event        sessions.Event
		text, asJSON string
	}{
		{sessions.Event{Kind: sessions.KindEvaluation, Data: data}, "evaluation of step 5: loss/val/own 0.5000, loss/val/pooled 0.2500\n",
			`{"losses":[{"dataset":"own","loss":0.5,"pictures":3}],"pooled":0.25,"seconds":0,"step":5,"type":"evaluation"}` + "\n"},
		{sessions.Event{Kind: sessions.KindEvaluationFailed, Data: failed}, "warning: evaluation skipped: no memory\n",
			`{"message":"evaluation skipped: no memory","type":"warning"}` + "\n"},
	}
	for _, test := range tests {
		for asJSON, want := range map[bool]string{false: test.text, true: test.asJSON} {
			var out bytes.Buffer
			done, err := newDisplay(&out, &job.Job{}, asJSON).event(test.event)
			require.NoError(t, err)
			assert.False(t, done)
			assert.Equal(t, want, out.String())
		}
	}
}
