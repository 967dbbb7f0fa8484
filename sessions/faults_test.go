package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// Variables that tell a child process to kill itself: at which fault point, and the file that it removes first, so that
// its successor lives.
const (
	killAtVariable = "STEPD_TEST_KILL_AT"
	armedVariable  = "STEPD_TEST_ARMED"
)

// fuse returns what a child process calls at its fault points.
func fuse() func() {
	at, _ := strconv.Atoi(os.Getenv(killAtVariable))
	armed, points := os.Getenv(armedVariable), 0
	return func() {
		if points++; points == at && os.Remove(armed) == nil {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// workerWithFuse is a worker that may end at any operation on its run folder.
func workerWithFuse() int {
	burn := fuse()
	return worker.MainOn(&fake.Engine{}, fixture.FS{Before: func(string, string) error {
		burn()
		return nil
	}})
}

// arm makes the file of a fuse.
func arm(t *testing.T, dir string) string {
	t.Helper()
	armed := filepath.Join(dir, "armed")
	require.NoError(t, os.WriteFile(armed, nil, 0o600))
	return armed
}

// burnt tells whether the fuse killed its process.
func burnt(armed string) bool {
	_, err := os.Stat(armed)
	return errors.Is(err, os.ErrNotExist)
}

// faultyJob is a short job with several checkpoints of which not all are kept.
func faultyJob(t *testing.T, dir, name string) *job.Job {
	t.Helper()
	j := fixture.Job(t, dir)
	j.Name, j.Steps, j.Save.Every, j.Save.Keep = name, 2, 1, 1
	j.Sampling = job.Sampling{}
	return j
}

// undisturbed is what the faulty job learns when nothing happens.
func undisturbed(t *testing.T, m *Manager, dir string) map[string]checkpoint.File {
	t.Helper()
	j := faultyJob(t, dir, "undisturbed")
	waitState(t, create(t, m, wholeBudget("undisturbed", j)), Completed)
	return fixture.FinalState(t, j)
}

// checkRun checks a run that came to its end in spite of a fault.
func checkRun(t *testing.T, s *Session, want map[string]checkpoint.File) {
	t.Helper()
	snapshot := waitState(t, s, Completed, Failed)
	require.Equal(t, Completed, snapshot.State, snapshot.Error)
	assert.Equal(t, snapshot.End, snapshot.Completed)
	require.Equal(t, want, fixture.FinalState(t, s.Job()))
	checkSteps(t, checkEvents(t, s))
	checkpoints, err := s.Checkpoints(testContext(t))
	require.NoError(t, err)
	require.NotEmpty(t, checkpoints)
	for _, c := range checkpoints {
		_, err := checkpoint.Verify(c.Path)
		assert.NoError(t, err)
	}
}

// TestAWorkerKilledAtEveryFileOperation ends the worker with SIGKILL before the n-th operation on its run folder, for
// every n until it needs no more operations.
func TestAWorkerKilledAtEveryFileOperation(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	want := undisturbed(t, open(t, filepath.Join(dir, "first"), Options{}), dir)
	for n := 1; ; n++ {
		armed := arm(t, dir)
		m := open(t, filepath.Join(dir, fmt.Sprint(n)), Options{CacheDir: filepath.Join(dir, "cache"), Launcher: worker.Command{Path: program,
			Env: []string{"STEPD_TEST_ROLE=fused worker", killAtVariable + "=" + strconv.Itoa(n), armedVariable + "=" + armed}}})
		s := create(t, m, wholeBudget("s", faultyJob(t, dir, fmt.Sprint("run-", n))))
		checkRun(t, s, want)
		require.NoError(t, m.Close(testContext(t)))
		if !burnt(armed) {
			require.Greater(t, n, 20)
			break
		}
		require.Equal(t, 2, s.Snapshot().Attempt)
	}
}

// serverWithFuse is a server that may end at any commit: it trains the session that is there, or a new one.
func serverWithFuse() int {
	burn := fuse()
	program, err := os.Executable()
	if err != nil {
		return 1
	}
	ctx := context.Background()
	m, err := Open(ctx, Options{DataDir: os.Getenv("STEPD_TEST_DATA"), CacheDir: os.Getenv("STEPD_TEST_CACHE"),
		Launcher: worker.Command{Path: program, Env: []string{"STEPD_TEST_ROLE=worker"}},
		fault: func(point string) error {
			if point != store.PointBegin {
				burn()
			}
			return nil
		}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	j, err := job.Parse([]byte(os.Getenv("STEPD_TEST_JOB")))
	if err != nil {
		return 1
	}
	s, err := m.Create(ctx, CreateRequest{ID: "s", Job: j, Grant: j.Steps, Queue: "training"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("created")
	if _, err := s.Wait(ctx, Snapshot.Finished); err != nil {
		return 1
	}
	return 0
}

// TestAServerKilledAtEveryCommit ends the server with SIGKILL before and after the n-th commit, for every n until a
// session needs no more of them. A session that was promised must be there, and go on by itself.
func TestAServerKilledAtEveryCommit(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	require.NoError(t, err)
	want := undisturbed(t, open(t, filepath.Join(dir, "first"), Options{}), dir)
	for n := 1; ; n++ {
		armed, here := arm(t, dir), filepath.Join(dir, fmt.Sprint(n))
		j := faultyJob(t, dir, fmt.Sprint("run-", n))
		request := wholeBudget("s", j)
		text, err := json.Marshal(j)
		require.NoError(t, err)
		server := exec.Command(program)
		server.Env = append(os.Environ(), "STEPD_TEST_ROLE=fused server", killAtVariable+"="+strconv.Itoa(n), armedVariable+"="+armed,
			"STEPD_TEST_DATA="+filepath.Join(here, "data"), "STEPD_TEST_CACHE="+filepath.Join(dir, "cache"), "STEPD_TEST_JOB="+string(text))
		server.Stderr = os.Stderr
		promised, _ := server.Output() // the error is the signal
		killed := burnt(armed)
		if !killed {
			require.Equal(t, "created\n", string(promised))
		}

		m := open(t, here, Options{Launcher: childWorker(t), CacheDir: filepath.Join(dir, "cache")})
		s, err := m.Session("s")
		if errors.Is(err, ErrNotFound) {
			require.Empty(t, promised, "commit %d: the session was promised", n)
			s = create(t, m, request)
		}
		checkRun(t, s, want)
		require.NoError(t, m.Close(testContext(t)))
		if !killed {
			require.Greater(t, n, 8)
			break
		}
	}
}

// TestEveryFailingCommit fails the n-th commit and the next ones, for every n until a session needs no more of them. A
// creation that failed leaves nothing; anything else is made up for when the store works again.
func TestEveryFailingCommit(t *testing.T) {
	dir := t.TempDir()
	want := undisturbed(t, open(t, filepath.Join(dir, "first"), Options{}), dir)
	for _, failures := range []int{1, 2*writeAttempts + 1} {
		for n := 1; ; n++ {
			calls := atomic.Int64{}
			fault := func(point string) error {
				if point != store.PointCommit {
					return nil
				}
				if call := int(calls.Add(1)); call >= n && call < n+failures {
					return fixture.ErrInjected
				}
				return nil
			}
			name := fmt.Sprint("run-", failures, "-", n)
			m := open(t, filepath.Join(dir, name), Options{CacheDir: filepath.Join(dir, "cache"), retry: time.Millisecond, fault: fault})
			request := wholeBudget("s", faultyJob(t, dir, name))
			s, err := m.Create(testContext(t), request)
			for err != nil {
				require.ErrorIs(t, err, fixture.ErrInjected)
				require.Empty(t, m.Sessions())
				s, err = m.Create(testContext(t), request)
			}
			checkRun(t, s, want)
			used := int(calls.Load())
			for err = m.Delete(testContext(t), "s"); err != nil; err = m.Delete(testContext(t), "s") {
				require.ErrorIs(t, err, fixture.ErrInjected)
			}
			require.NoError(t, m.Close(testContext(t)))
			if used < n {
				require.Greater(t, n, 4)
				break
			}
		}
	}
}
