package worker

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

// A worker that is killed takes its scripts along, and what those started.
func TestScriptsEndWithAKilledWorker(t *testing.T) {
	j := fixture.Faults(fixture.Job(t, t.TempDir()), fake.Faults{CrashAt: 6})
	gate := fixture.NewGate(t, j)
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	require.NoError(t, syscall.Mkfifo(pids, 0o600))
	hook := filepath.Join(dir, "hook.sh")
	require.NoError(t, os.WriteFile(hook, []byte("#!/bin/sh\nsleep 1000 &\necho $$ $! > "+pids+"\nwait\n"), 0o755))
	j.Save.Every = 5
	j.Scripts = &job.Scripts{Checkpoint: &job.Script{Command: []string{hook}}}
	s := start(t, childAs(t, "worker"), j)
	s.next(TypePaused)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
	gate.Open(5)
	s.next(TypeCheckpoint)
	started, err := os.ReadFile(pids) // waits for the script
	require.NoError(t, err)
	gate.Open(1)
	_, exit := s.end()
	require.Contains(t, exit.Problem, "SIGKILL")
	for _, text := range strings.Fields(string(started)) {
		pid, err := strconv.Atoi(text)
		require.NoError(t, err)
		assert.Eventually(t, func() bool { return ended(pid) }, 10*time.Second, 10*time.Millisecond, "process %d lives on", pid)
	}
}

// ended also counts what only waits to be reaped.
func ended(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(data), ") Z ")
}
