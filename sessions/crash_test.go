package sessions

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
	"github.com/stepd/stepd/sessions/worker"
)

// serveForTest is a server without HTTP: it creates a session, or grants steps to the one that is there, and prints every
// snapshot as a line of JSON until it is killed.
func serveForTest() int {
	ctx := context.Background()
	program, err := os.Executable()
	if err != nil {
		return 1
	}
	m, err := Open(ctx, Options{DataDir: os.Getenv("STEPD_TEST_DATA"),
		Launcher: worker.Command{Path: program, Env: []string{"STEPD_TEST_ROLE=worker"}}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	j, err := job.Parse([]byte(os.Getenv("STEPD_TEST_JOB")))
	if err != nil {
		return 1
	}
	s, err := m.Create(ctx, CreateRequest{ID: "s", Job: j, Grant: 20})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for last := int64(-1); ; {
		snapshot, err := s.Wait(ctx, func(snapshot Snapshot) bool { return snapshot.LastEvent > last })
		if err != nil {
			return 1
		}
		last = snapshot.LastEvent
		line, _ := json.Marshal(snapshot)
		fmt.Println(string(line))
	}
}

// TestStepsOfALostWorkerAreTold has a worker that is killed between its checkpoint and the news of it.
func TestStepsOfALostWorkerAreTold(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	j.Save.Every = 4
	s := create(t, m, CreateRequest{ID: "s", Job: j, Grant: 8})
	waitState(t, s, Paused)
	tests := []struct {
		name  string
		steps run.Steps
		last  *StepEvent // what was reported before
		want  []int64    // steps that are told now
	}{
		{"part of an attempt", run.Steps{Session: s.Key(), Attempt: 3, Steps: steps(11, 12, 13)}, &StepEvent{Attempt: 3, Step: 11}, []int64{12, 13}},
		{"all of an attempt", run.Steps{Session: s.Key(), Attempt: 3, Steps: steps(11, 12)}, &StepEvent{Attempt: 2, Step: 15}, []int64{11, 12}},
		{"the first steps of all", run.Steps{Session: s.Key(), Attempt: 1, Steps: steps(1, 2)}, nil, []int64{1, 2}},
		{"nothing new", run.Steps{Session: s.Key(), Attempt: 3, Steps: steps(11, 12)}, &StepEvent{Attempt: 3, Step: 12}, nil},
		{"an older attempt", run.Steps{Session: s.Key(), Attempt: 1, Steps: steps(11, 12)}, &StepEvent{Attempt: 2, Step: 1}, nil},
		{"another session", run.Steps{Session: "other", Attempt: 9, Steps: steps(11, 12)}, &StepEvent{Attempt: 3, Step: 10}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newActor(s, Snapshot{LastStep: test.last}, nil)
			a.takeOver(test.steps)
			a.takeOver(test.steps) // and never twice
			var got []int64
			for _, e := range a.change.update.Events {
				data := decode[StepEvent](t, Event{Data: e.Data})
				assert.Equal(t, test.steps.Attempt, data.Attempt)
				assert.True(t, data.Recovered)
				assert.Equal(t, 2*data.Step, data.MicroBatch)
				got = append(got, data.Step)
			}
			assert.Equal(t, test.want, got)
		})
	}
}

func steps(numbers ...int64) (list []run.Step) {
	for _, n := range numbers {
		list = append(list, run.Step{MicroBatch: 2 * n, StepEvent: engine.StepEvent{Step: n}})
	}
	return list
}

// TestAKilledServerLosesNothingDurable kills a server with SIGKILL at several steps and opens its data folder.
func TestAKilledServerLosesNothingDurable(t *testing.T) {
	for _, killAt := range []int64{1, 4, 5, 11} {
		t.Run(fmt.Sprint("step ", killAt), func(t *testing.T) {
			dir := t.TempDir()
			j := fixture.Job(t, dir)
			j.Save.Every = 4
			gate := fixture.NewGate(t, j)
			gate.Open(int(killAt))
			seen := runAndKill(t, dir, j, killAt)

			m := open(t, dir, Options{Launcher: childWorker(t)})
			s, err := m.Session("s")
			require.NoError(t, err)
			snapshot := waitState(t, s, Interrupted)
			assert.GreaterOrEqual(t, snapshot.LastEvent, seen.LastEvent, "what was shown is still there")
			assert.GreaterOrEqual(t, snapshot.Completed, seen.LastCheckpointStep())
			assert.LessOrEqual(t, snapshot.Completed, killAt+1)
			assert.Equal(t, snapshot.Completed, snapshot.Allowed)
			if snapshot.LastCheckpoint != nil {
				assert.Equal(t, snapshot.Completed, snapshot.LastCheckpoint.Step)
				_, err = checkpoint.Verify(snapshot.LastCheckpoint.Path)
				assert.NoError(t, err)
			}
			step, attempt := checkSteps(t, checkEvents(t, s))
			assert.GreaterOrEqual(t, step, snapshot.Completed, "every step of the checkpoint is told, also those that no server heard of")
			assert.Equal(t, 1, attempt)
			gate.Open(20)
			_, result := grant(t, s, 2)
			assert.True(t, result.Consumed)
			assert.Equal(t, snapshot.Completed+2, result.Snapshot.Completed)
			checkSteps(t, checkEvents(t, s))
		})
	}
}

// runAndKill returns the last snapshot that the server showed.
func runAndKill(t *testing.T, dir string, j *job.Job, step int64) Snapshot {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	program, err := os.Executable()
	require.NoError(t, err)
	server := exec.Command(program)
	server.Env = append(os.Environ(), "STEPD_TEST_ROLE=server", "STEPD_TEST_DATA="+filepath.Join(dir, "data"), "STEPD_TEST_JOB="+string(text))
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	var seen Snapshot
	for seen.Completed < step && lines.Scan() {
		require.NoError(t, json.Unmarshal(lines.Bytes(), &seen))
	}
	require.NoError(t, server.Process.Kill())
	_ = server.Wait() // always reports the signal
	require.Equal(t, step, seen.Completed)
	return seen
}
