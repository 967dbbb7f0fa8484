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
	"github.com/stepd/stepd/sessions/job"
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
			gate.Open(20)
			_, result := grant(t, s, 2)
			assert.True(t, result.Consumed)
			assert.Equal(t, snapshot.Completed+2, result.Snapshot.Completed)
			checkEvents(t, s)
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
