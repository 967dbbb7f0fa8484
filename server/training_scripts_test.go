package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/script"
)

func TestScriptsOfJobs(t *testing.T) {
	allow, err := script.ParseAllow([]string{"note=sh -c 'echo noted $0; exit 3' {global_step}"}, false)
	require.NoError(t, err)
	a := serveIn(t, t.TempDir(), Options{Script: allow.Resolve}, &fake.Engine{})
	refused := a.post("validate", a.fastPath(options{"post_checkpoint_script": "rm -rf /"})).body
	assert.Contains(t, refused, "Validation Failed")
	assert.Contains(t, refused, "--allow-script")

	id := a.start(a.fastPath(options{"post_checkpoint_script": "note"}))
	a.waitState(id, sessions.Completed)
	found := false
	for _, event := range a.eventsSince("").Events {
		message, _ := event["message"].(string)
		if event["type"] == "notification" && strings.Contains(message, "checkpoint script of step 12 failed: exit status 3") {
			found = true
			assert.Equal(t, "warning", event["severity"])
			assert.Equal(t, "noted 12", event["data"].(map[string]any)["output"])
		}
	}
	assert.True(t, found)
}

func TestRollingCheckpointsAreListedAndChecked(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(options{"checkpoint_step_interval": "10", "checkpointing_rolling_steps": "4"}))
	a.waitState(id, sessions.Completed)
	list := read[checkpointList](t, a.request("GET", "/api/training/checkpoints", nil), http.StatusOK)
	var names []string
	for _, c := range list.Checkpoints {
		names = append(names, c.Name)
		checked := read[checkedCheckpoint](t, a.request("GET", "/api/training/checkpoints/validate/"+c.Name, nil), http.StatusOK)
		assert.True(t, checked.Valid, checked.Message)
	}
	assert.Equal(t, []string{"checkpoint-12", "checkpoint-10", "checkpoint-8-rolling"}, names)
}
