package server

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
)

func TestLifeOfATraining(t *testing.T) {
	a := serve(t, Options{})
	idle := a.request("GET", "/api/training/status", nil)
	assert.JSONEq(t, `{"status":"idle","config":{},"job_id":null,"job_info":null,"progress":null,"startup_progress":{}}`, idle.body)
	assert.JSONEq(t, `{"events":[],"job_id":null}`, a.request("GET", "/api/training/events", nil).body)

	form := a.fastPath(nil)
	r := a.post("validate", form)
	require.Contains(t, r.body, "Configuration Valid")
	id := a.start(form)
	a.waitState(id, sessions.Completed)
	now := a.trainingStatus()
	assert.Equal(t, "completed", now.Status)
	list := a.eventsSince("?since_index=0")
	kinds := map[any]int{}
	for _, e := range list.Events {
		kinds[e["type"]]++
	}
	assert.Equal(t, 13, kinds[typeStatus], "twelve steps and the end")
}

func TestAnOutputFolderThatCannotBeWrittenIsRefusedAtTheStart(t *testing.T) {
	a := serve(t, Options{})
	r := a.post("start", a.fastPath(options{"output_dir": "/dev/null/run"}))
	assert.Contains(t, r.body, "--output_dir: the run folder /dev/null/run cannot be written")
	assert.Empty(t, a.server.options.Manager.Sessions())
}
