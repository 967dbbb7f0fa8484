package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
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
