package worker

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

// TestMain makes the test binary its own worker.
func TestMain(m *testing.M) {
	switch os.Getenv("STEPD_TEST_ROLE") {
	case "worker":
		os.Exit(Main(&fake.Engine{}))
	case "garbage":
		_, _ = os.NewFile(toSupervisor, "out").WriteString("this is no frame")
		os.Exit(0)
	case "loud":
		_, _ = os.Stderr.WriteString("core: something went wrong\n" + strings.Repeat("x", 100_000) + "\n")
		os.Exit(7)
	}
	os.Exit(m.Run())
}

func childAs(t *testing.T, role string) Command {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	return Command{Path: program, Env: []string{"STEPD_TEST_ROLE=" + role}}
}

// launchers are the two ways to run a worker; both keep the same contract.
func launchers(t *testing.T) map[string]Launcher {
	return map[string]Launcher{"process": childAs(t, "worker"), "goroutine": Local{Engine: &fake.Engine{}}}
}

// supervisor plays the session: it answers questions and remembers messages.
type supervisor struct {
	t  *testing.T
	w  *Worker
	mu sync.Mutex
	// printed lines of the worker
	printed []string
}

func start(t *testing.T, launcher Launcher, j *job.Job) *supervisor {
	t.Helper()
	s := &supervisor{t: t}
	w, err := Start(launcher, Task{Job: j, CacheDir: filepath.Join(filepath.Dir(j.Output), "cache")}, func(line string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.printed = append(s.printed, line)
	})
	require.NoError(t, err)
	s.w = w
	return s
}

// next answers questions until a message of this type comes; the zero message when the worker ends first.
func (s *supervisor) next(want Type) Message {
	s.t.Helper()
	for m := range s.w.Messages {
		if m.Type == TypePlan || m.Type == TypeCheckpoint {
			require.NoError(s.t, s.w.Send(Message{Type: TypeAcknowledged, ID: m.ID}))
		}
		if m.Type == want {
			return m
		}
	}
	return Message{}
}

func (s *supervisor) end() (steps int, exit Exit) {
	for m := range s.w.Messages {
		if m.Type == TypeStep {
			steps++
		}
		if m.Type == TypeCheckpoint {
			require.NoError(s.t, s.w.Send(Message{Type: TypeAcknowledged, ID: m.ID}))
		}
	}
	return steps, s.w.Exit()
}

// contract is what a worker does, whether it is a process or a goroutine.
var contract = []struct {
	name  string
	check func(t *testing.T, launcher Launcher)
}{
	{"trains to the end", trains},
	{"aborts", aborts},
	{"stops with a checkpoint when it is told to terminate", terminates},
	{"reports errors with their code", reportsErrors},
	{"a refused plan ends it", endsOnARefusedPlan},
	{"saves and ends when its supervisor is gone", outlivesItsSupervisor},
}

func TestContract(t *testing.T) {
	for name, launcher := range launchers(t) {
		for _, test := range contract {
			t.Run(name+"/"+test.name, func(t *testing.T) { test.check(t, launcher) })
		}
	}
}

func trains(t *testing.T, launcher Launcher) {
	s := start(t, launcher, fixture.Job(t, t.TempDir()))
	ready := s.next(TypeReady)
	require.NotNil(t, ready.Ready)
	assert.Equal(t, int64(0), s.next(TypePaused).Step)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 5}))
	assert.Equal(t, int64(5), s.next(TypeCheckpoint).Checkpoint.Manifest.Step)
	assert.Equal(t, int64(5), s.next(TypePaused).Step)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 100}))
	assert.Equal(t, run.Completed, s.next(TypeFinished).Outcome)
	_, exit := s.end()
	assert.Empty(t, exit.Problem)
}

func aborts(t *testing.T, launcher Launcher) {
	j := fixture.Job(t, t.TempDir())
	gate := fixture.NewGate(t, j)
	s := start(t, launcher, j)
	s.next(TypePaused)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
	gate.Open(3)
	for range 3 {
		s.next(TypeStep)
	}
	require.NoError(t, s.w.Send(Message{Type: TypeAbort}))
	saved := s.next(TypeCheckpoint).Checkpoint
	assert.Equal(t, "abort", saved.Manifest.Reason)
	assert.Contains(t, []int64{3, 4}, saved.Manifest.Step, "a step at work is finished")
	assert.Equal(t, run.Aborted, s.next(TypeFinished).Outcome)
}

func terminates(t *testing.T, launcher Launcher) {
	j := fixture.Job(t, t.TempDir())
	gate := fixture.NewGate(t, j)
	s := start(t, launcher, j)
	s.next(TypePaused)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
	gate.Open(2)
	s.next(TypeStep)
	s.next(TypeStep)
	s.w.Terminate()
	assert.Contains(t, []int64{2, 3}, s.next(TypeCheckpoint).Checkpoint.Manifest.Step)
	assert.Equal(t, run.Stopped, s.next(TypeFinished).Outcome)
}

func reportsErrors(t *testing.T, launcher Launcher) {
	s := start(t, launcher, fixture.Faults(fixture.Job(t, t.TempDir()), fake.Faults{FailAt: 2, FailCode: engine.Numeric}))
	s.next(TypePaused)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
	finished := s.next(TypeFinished)
	require.NotNil(t, finished.Error)
	assert.Equal(t, engine.Numeric, finished.Error.Code)
}

func endsOnARefusedPlan(t *testing.T, launcher Launcher) {
	s := start(t, launcher, fixture.Job(t, t.TempDir()))
	for m := range s.w.Messages {
		if m.Type == TypePlan {
			refusal := &Failure{Code: engine.OutOfMemory, Message: "too large"}
			require.NoError(t, s.w.Send(Message{Type: TypeAcknowledged, ID: m.ID, Error: refusal}))
		}
		if m.Type == TypeFinished {
			assert.Equal(t, engine.OutOfMemory, m.Error.Code)
		}
	}
}

// The test reads the pipe itself: a supervisor at work would take the end that it finds in the middle of a message for a
// broken worker, and kill it.
func outlivesItsSupervisor(t *testing.T, launcher Launcher) {
	j := fixture.Job(t, t.TempDir())
	gate := fixture.NewGate(t, j)
	process, err := launcher.Launch(func(string) {})
	require.NoError(t, err)
	w := &Worker{process: process}
	require.NoError(t, w.handshake(Task{Job: j, CacheDir: filepath.Join(filepath.Dir(j.Output), "cache")}))
	until := func(want Type) {
		for {
			m, err := ReadMessage(process)
			require.NoError(t, err)
			if m.Type == TypePlan {
				require.NoError(t, w.Send(Message{Type: TypeAcknowledged, ID: m.ID}))
			}
			if m.Type == want {
				return
			}
		}
	}
	until(TypePaused)
	require.NoError(t, w.Send(Message{Type: TypeAllow, Step: 20}))
	gate.Open(1)
	until(TypeStep)
	// A dead supervisor reads and writes nothing more.
	require.NoError(t, process.Close())
	process.Wait()
	folder, err := checkpoint.Open(j.RunDir(), checkpoint.OS{})
	require.NoError(t, err)
	latest, err := folder.Latest(-1, func(path string, reason error) { t.Error(reason) })
	require.NoError(t, err)
	require.NotNil(t, latest)
	assert.Equal(t, "stop", latest.Manifest.Reason)
}

func TestEndsOfProcesses(t *testing.T) {
	tests := []struct {
		signal syscall.Signal
		want   string
	}{
		{syscall.SIGKILL, "ran out of memory"},
		{syscall.SIGSEGV, "SIGSEGV"},
		{syscall.SIGABRT, "SIGABRT"},
		{syscall.SIGBUS, "changed or truncated"},
	}
	for _, test := range tests {
		t.Run(test.signal.String(), func(t *testing.T) {
			j := fixture.Faults(fixture.Job(t, t.TempDir()), fake.Faults{CrashAt: 3, CrashSignal: test.signal})
			s := start(t, childAs(t, "worker"), j)
			s.next(TypePaused)
			require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
			steps, exit := s.end()
			assert.LessOrEqual(t, steps, 2, "the last messages may be lost")
			assert.Positive(t, exit.PeakBytes)
			if test.signal == syscall.SIGKILL {
				assert.Contains(t, exit.Problem, test.want)
			} else {
				// The Go runtime turns some of these into a traceback and exit code 2.
				assert.NotEmpty(t, exit.Problem)
			}
		})
	}
}

func TestKillEndsAStuckProcess(t *testing.T) {
	j := fixture.Faults(fixture.Job(t, t.TempDir()), fake.Faults{HangAt: 1})
	s := start(t, childAs(t, "worker"), j)
	s.next(TypePaused)
	require.NoError(t, s.w.Send(Message{Type: TypeAllow, Step: 20}))
	s.next(TypeRunning)
	s.w.Kill()
	_, exit := s.end()
	assert.Contains(t, exit.Problem, "SIGKILL")
}

func TestWorkersThatAreNone(t *testing.T) {
	for role, want := range map[string]string{"garbage": "not of this protocol", "loud": "exit code 7"} {
		t.Run(role, func(t *testing.T) {
			var printed []string
			_, err := Start(childAs(t, role), Task{Job: &job.Job{}}, func(line string) { printed = append(printed, line) })
			require.ErrorContains(t, err, want)
			if role == "loud" {
				assert.Equal(t, "core: something went wrong", printed[0])
				assert.Greater(t, len(printed), 1)
			}
		})
	}
}

func TestSecretsStayWithTheServer(t *testing.T) {
	got := withoutSecrets([]string{"PATH=/bin", "STEPD_TOKEN=x", "aws_secret_access_key=y", "HF_TOKEN=z", "HOME=/"})
	assert.Equal(t, []string{"PATH=/bin", "HOME=/"}, got)
}

func TestFramesSurviveAndGarbageIsRefused(t *testing.T) {
	var buffer bytes.Buffer
	sent := Message{Type: TypeStep, StepEvent: &engine.StepEvent{Step: 3, Loss: 0.1}}
	require.NoError(t, WriteMessage(&buffer, sent))
	frame := bytes.Clone(buffer.Bytes())
	got, err := ReadMessage(&buffer)
	require.NoError(t, err)
	assert.Equal(t, sent, got)
	_, err = ReadMessage(&buffer)
	assert.Equal(t, io.EOF, err)

	for name, data := range map[string][]byte{
		"half a header": frame[:2],
		"half a frame":  frame[:len(frame)-1],
		"huge length":   binary.BigEndian.AppendUint32(nil, 1<<31),
		"long length":   binary.BigEndian.AppendUint32(nil, maxFrame),
		"no JSON":       append(binary.BigEndian.AppendUint32(nil, 3), "abc"...),
	} {
		_, err := ReadMessage(bytes.NewReader(data))
		assert.Error(t, err, name)
		assert.NotEqual(t, io.EOF, err, name)
	}
}

func FuzzReadMessage(f *testing.F) {
	var buffer bytes.Buffer
	require.NoError(f, WriteMessage(&buffer, Message{Type: TypeAllow, Step: 5}))
	f.Add(buffer.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ReadMessage(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		require.NoError(t, WriteMessage(&again, m))
		same, err := ReadMessage(&again)
		require.NoError(t, err)
		require.Equal(t, m, same)
	})
}
