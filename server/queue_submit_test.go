package server

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
)

// Jobs are submitted by the names of their environments, one after the other, and none becomes the active one.
func TestSubmitToQueue(t *testing.T) {
	a := serve(t, Options{})
	gate := fixture.NewGate(t, a.files)
	for _, name := range []string{"one", "two"} {
		config := answer{}
		for option, value := range a.fastPath(options{"output_dir": a.files.Output + "/" + name, "validation_disable": "true"}) {
			if option != "__active_tab__" {
				config["--"+option] = value
			}
		}
		a.ok("POST", "/api/configs/", answer{"name": name, "config": config})
	}
	submit := func(name string, more ...any) answer {
		body := answer{"config_name": name}
		for i := 0; i < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		return a.ok("POST", "/api/queue/submit", body)
	}
	first := submit("one", "no_wait", true)
	assert.Equal(t, []any{true, "running", nil, nil}, []any{first["success"], first["status"], first["queue_position"], first["error"]})
	refused := submit("two", "no_wait", true)
	assert.Equal(t, []any{false, "rejected", nil}, []any{refused["success"], refused["status"], refused["job_id"]})
	assert.Contains(t, refused["error"], "no_wait: another job is at work")
	assert.Contains(t, submit("two", "target", "worker")["error"], "target: ")
	second := submit("two", "target", "local")
	assert.Equal(t, []any{true, "queued", 1.0}, []any{second["success"], second["status"], second["queue_position"]})
	counts := a.ok("GET", "/api/queue/stats", nil)
	assert.Equal(t, []any{1.0, 1.0, answer{"running": 1.0, "pending": 1.0}}, []any{counts["running"], counts["queue_depth"], counts["by_status"]})
	gate.Open(200)
	for _, job := range []answer{first, second} {
		a.waitState(job["job_id"].(string), sessions.Completed)
	}
	assert.Equal(t, answer{"completed": 2.0}, a.ok("GET", "/api/queue/stats", nil)["by_status"])
	assert.Equal(t, "default", a.ok("GET", "/api/configs/active", nil)["name"])
	assert.Contains(t, submit("default")["error"], "--model_family")
}
