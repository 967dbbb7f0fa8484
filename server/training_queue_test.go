package server

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine/fake"
)

func TestQueue(t *testing.T) {
	a := serve(t, Options{})
	gate := fixture.NewGate(t, a.files)
	first := a.start(a.fastPath(nil))
	gate.Open(2)
	a.wait(first, func(s sessions.Snapshot) bool { return s.Completed == 2 })

	r := a.post("start", a.fastPath(options{"max_train_steps": "14"})) // into the same folder
	assert.Contains(t, r.body, "</i> Training Queued</h6><p>Your job is queued at position 1.</p>")
	second := jobID.FindStringSubmatch(r.body)[1]
	r = a.post("configuration/run", a.fastPath(options{"output_dir": filepath.Join(a.files.Output, "other")}))
	assert.Contains(t, r.body, "Your job is queued at position 2.")
	third := jobID.FindStringSubmatch(r.body)[1]
	assert.Equal(t, first, *a.trainingStatus().JobID, "those that wait are not the current one")
	queue := read[queueList](t, a.request("GET", "/api/queue", nil), http.StatusOK)
	require.Equal(t, 3, queue.Count)
	for i, id := range []string{first, second, third} {
		assert.Equal(t, id, queue.Jobs[i].JobID)
		assert.Equal(t, i, queue.Jobs[i].Position)
	}
	assert.Equal(t, []string{"running", "queued", "queued"}, []string{queue.Jobs[0].Status, queue.Jobs[1].Status, queue.Jobs[2].Status})

	assert.Contains(t, a.post("cancel", options{"job_id": third}).body, "</i> Training Cancelled</h6><p>The training job has left the queue.</p>")
	a.waitState(third, sessions.Aborted)
	assert.Contains(t, a.post("cancel", options{"job_id": third}).body, "</i> No Active Training</h6>", "it has ended")
	assert.Contains(t, a.post("cancel", options{"job_id": "00000000"}).body, "</i> No Active Training</h6>", "unknown")
	assert.Equal(t, http.StatusConflict, a.request("POST", "/api/queue/"+third+"/cancel", nil).status)
	assert.Equal(t, http.StatusNotFound, a.request("POST", "/api/queue/00000000/cancel", nil).status)
	assert.Equal(t, first, *a.trainingStatus().JobID, "one that never had its turn is not the current one")

	gate.Open(10)
	a.waitState(first, sessions.Completed)
	gate.Open(2) // the second continues the folder of the first
	a.waitState(second, sessions.Completed)
	now := a.trainingStatus()
	assert.Equal(t, second, *now.JobID)
	assert.Equal(t, int64(14), now.Progress.Step)
	assert.JSONEq(t, `{"jobs":[],"count":0}`, a.request("GET", "/api/queue", nil).body)
}

func TestStop(t *testing.T) {
	a := serve(t, Options{})
	gate := fixture.NewGate(t, a.files)
	id := a.start(a.fastPath(nil))
	gate.Open(4)
	a.wait(id, func(s sessions.Snapshot) bool { return s.Completed == 4 })
	r := a.request("POST", "/api/training/stop", nil)
	assert.JSONEq(t, fmt.Sprintf(`{"message":"Training job %s stop requested"}`, id), r.body)
	a.waitState(id, sessions.Aborted)
	now := a.trainingStatus()
	assert.Equal(t, "cancelled", now.Status)
	assert.Equal(t, &jobInfo{Status: "terminated"}, now.JobInfo)
	assert.Nil(t, now.Progress)
	assert.JSONEq(t, `{"message":"No active training job to stop"}`, a.request("POST", "/api/training/stop", nil).body)
	assert.Equal(t, http.StatusBadRequest, a.request("POST", "/api/training/validation/run", nil).status)
	list := read[checkpointList](t, a.request("GET", "/api/training/checkpoints", nil), http.StatusOK)
	require.NotEmpty(t, list.Checkpoints, "nothing is lost")
	stopped := list.Checkpoints[0].Step
	assert.GreaterOrEqual(t, stopped, int64(4))

	gate.Open(20)
	again := a.start(a.fastPath(nil))
	a.waitState(again, sessions.Completed)
	resumed := havingType(a.eventsSince("").Events, typeStage)
	var from any
	for _, e := range resumed {
		if stage, _ := e["stage"].(map[string]any); stage["key"] == "init_resume_checkpoint" {
			from = e.data("step")
		}
	}
	assert.Equal(t, float64(stopped), from, "the next job in the folder goes on from there")
}

func TestCancel(t *testing.T) {
	a := serve(t, Options{})
	fixture.NewGate(t, a.files)
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Running)
	r := a.request("POST", "/api/training/cancel", "job_id=", "Content-Type", mediaForm)
	assert.Contains(t, r.body, "</i> Training Cancelled</h6>")
	assert.Contains(t, r.body, "Job ID: "+id)
	assert.Equal(t, "cancelled", a.trainingStatus().Status, "at once")
	a.waitState(id, sessions.Aborted)
	assert.Equal(t, "cancelled", a.trainingStatus().Status)
}

// Both requests are served after the step that is at work; two of one kind are one.
func TestManualRequests(t *testing.T) {
	reached, released := make(chan struct{}), make(chan struct{})
	a := serveWith(t, Options{}, &fake.Engine{OnStep: func(_ context.Context, step int64) error {
		if step == 3 {
			close(reached)
			<-released
		}
		return nil
	}})
	id := a.start(a.fastPath(options{"validation_disable_unconditional": "true"}))
	<-reached
	for range 2 {
		r := a.request("POST", "/api/training/validation/run", nil)
		assert.JSONEq(t, fmt.Sprintf(`{"message":"Validation queued for the next gradient sync.","job_id":%q}`, id), r.body)
	}
	r := a.request("POST", "/api/training/checkpoint/run", nil)
	assert.JSONEq(t, fmt.Sprintf(`{"message":"Checkpoint queued for the next gradient sync.","job_id":%q}`, id), r.body)
	close(released)
	a.waitState(id, sessions.Completed)
	events := a.eventsSince("").Events
	pictures := havingType(events, typeValidation)
	require.Len(t, pictures, 1, "one validation for two requests")
	assert.Equal(t, 3.0, pictures[0].data("global_step"))
	made := []any{}
	for _, e := range havingType(events, typeCheckpoint) {
		saved, _ := e["checkpoint"].(map[string]any)
		made = append(made, saved["reason"], saved["step"])
	}
	assert.Equal(t, []any{"manual", 3.0, "final", 12.0}, made)
}

func TestCheckpoints(t *testing.T) {
	a := serve(t, Options{})
	form := a.fastPath(options{"checkpoint_step_interval": "5"})
	a.waitState(a.start(form), sessions.Completed)
	for name, r := range map[string]reply{
		"of the last job":     a.request("GET", "/api/training/checkpoints", nil),
		"by POST":             a.request("POST", "/api/training/checkpoints", nil),
		"by folder":           a.request("GET", "/api/training/checkpoints?output_dir="+form["output_dir"], nil),
		"by POST of a folder": a.request("POST", "/api/training/checkpoints", "--output_dir="+form["output_dir"], "Content-Type", mediaForm),
	} {
		list := read[checkpointList](t, r, http.StatusOK)
		assert.Equal(t, form["output_dir"], list.OutputDir, name)
		require.Equal(t, 3, list.Total, name)
		var names []string
		for i, c := range list.Checkpoints {
			names = append(names, c.Name)
			assert.Equal(t, i == 0, c.IsLatest, name)
			assert.Equal(t, filepath.Join(form["output_dir"], c.Name), c.Path)
			assert.Equal(t, c.Step, c.GlobalStep)
			assert.Positive(t, c.Timestamp)
		}
		assert.Equal(t, []string{"checkpoint-12", "checkpoint-10", "checkpoint-5"}, names, name)
	}
	missing := filepath.Join(a.files.Output, "nowhere")
	assert.JSONEq(t, fmt.Sprintf(`{"output_dir":%q,"checkpoints":[],"total":0}`, missing), a.request("GET", "/api/training/checkpoints?output_dir="+missing, nil).body)
	assert.NoDirExists(t, missing)
	assert.Equal(t, http.StatusBadRequest, a.request("GET", "/api/training/checkpoints?output_dir="+filepath.Join(a.files.Engine.Model, "tokenizer", "spiece.model"), nil).status)

	damaged := filepath.Join(form["output_dir"], "checkpoint-5")
	manifest, err := checkpoint.ReadManifest(damaged)
	require.NoError(t, err)
	files := slices.Sorted(maps.Keys(manifest.Files))
	require.NoError(t, os.WriteFile(filepath.Join(damaged, files[0]), []byte("{}"), 0o644))
	for name, want := range map[string]checkedCheckpoint{
		"checkpoint-12": {"checkpoint-12", true, "Checkpoint is valid"},
		"checkpoint-5":  {"checkpoint-5", false, files[0]},
		"checkpoint-7":  {"checkpoint-7", false, "Checkpoint not found"},
		"..%2F..%2Fetc": {"../../etc", false, "Not the name of a checkpoint"},
		"checkpoint-x":  {"checkpoint-x", false, "Not the name of a checkpoint"},
	} {
		got := read[checkedCheckpoint](t, a.request("GET", "/api/training/checkpoints/validate/"+name, nil), http.StatusOK)
		assert.Equal(t, []any{want.Checkpoint, want.Valid}, []any{got.Checkpoint, got.Valid}, name)
		assert.Contains(t, got.Message, want.Message)
	}
}

func TestListings(t *testing.T) {
	a := serve(t, Options{Version: "1.2.3"})
	assert.JSONEq(t, `{"families":["pixart","pixart_sigma"]}`, a.request("GET", "/api/models", nil).body)
	for _, path := range []string{"/api/models/pixart_sigma", "/api/models/pixart_sigma/flavours"} {
		family := read[familyInfo](t, a.request("GET", path, nil), http.StatusOK)
		assert.Equal(t, []string{"pixart_sigma", "900M-1024-v0.6"}, []string{family.Family, family.DefaultFlavour})
		assert.Contains(t, family.Flavours, "600M-512")
	}
	r := a.request("GET", "/api/models/x", nil)
	assert.Equal(t, http.StatusNotFound, r.status)
	assert.JSONEq(t, `{"detail":"Model family 'x' not found"}`, r.body)
	assert.JSONEq(t, `{"version":"1.2.3"}`, a.request("GET", "/api/version", nil).body)
}

// A job goes on by itself after the server has been restarted in its middle, and its progress never goes back.
func TestRestartInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	a := serveIn(t, dir, Options{}, &fake.Engine{})
	gate := fixture.NewGate(t, a.files)
	id := a.start(a.fastPath(options{"checkpoint_step_interval": "3"}))
	waiting := jobID.FindStringSubmatch(a.post("start", a.fastPath(options{"output_dir": filepath.Join(a.files.Output, "other")})).body)[1]
	gate.Open(5)
	a.wait(id, func(s sessions.Snapshot) bool { return s.Completed == 5 })
	before := a.trainingStatus()
	seen := a.eventsSince("")
	a.stop()

	a = serveIn(t, dir, Options{}, &fake.Engine{})
	now := a.trainingStatus()
	assert.Equal(t, id, *now.JobID)
	assert.JSONEq(t, string(before.Config), string(now.Config))
	if now.Progress != nil {
		assert.GreaterOrEqual(t, now.Progress.Percent, before.Progress.Percent)
	}
	gate.Open(40)
	a.waitState(id, sessions.Completed)
	a.waitState(waiting, sessions.Completed)
	session, err := a.server.options.Manager.Session(id)
	require.NoError(t, err)
	assert.Equal(t, int64(12), session.Snapshot().Completed)
	assert.Equal(t, waiting, *a.trainingStatus().JobID, "the one that waited had its turn")
	events, err := session.Events(testContext(t), 0, 1000)
	require.NoError(t, err)
	assert.Greater(t, len(events), len(seen.Events))
	for i, e := range events {
		require.Equal(t, int64(i+1), e.Index)
		p, ok := EventPayload(session, e)
		require.True(t, ok)
		if i < len(seen.Events) {
			assert.Equal(t, seen.Events[i]["type"], p.Type, "the numbering is the same after the restart")
		}
	}
}
