package sessions

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/worker"
)

// TestMain makes the test binary its own worker and its own server.
func TestMain(m *testing.M) {
	switch os.Getenv("STEPD_TEST_ROLE") {
	case "worker":
		os.Exit(worker.Main(&fake.Engine{}))
	case "fused worker":
		os.Exit(workerWithFuse())
	case "fused server":
		os.Exit(serverWithFuse())
	case "server":
		os.Exit(serveForTest())
	}
	os.Exit(m.Run())
}

func childWorker(t testing.TB) worker.Launcher {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	return worker.Command{Path: program, Env: []string{"STEPD_TEST_ROLE=worker"}}
}

func localWorker(testing.TB) worker.Launcher { return worker.Local{Engine: &fake.Engine{}} }

// testTimeout only bounds tests that would hang.
const testTimeout = time.Minute

func TestBudgets(t *testing.T) {
	for name, launcher := range map[string]func(testing.TB) worker.Launcher{"process": childWorker, "goroutine": localWorker} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, Options{Launcher: launcher(t)})
			max := int64(12)
			j := fixture.Job(t, dir)
			j.MaxSteps = &max
			s := create(t, m, CreateRequest{ID: "my session", Job: j})
			snapshot, err := s.WaitReady(testContext(t))
			require.NoError(t, err)
			assert.Equal(t, Paused, snapshot.State)
			assert.Zero(t, snapshot.Allowed)
			assert.Nil(t, snapshot.LastCheckpoint)

			g, result := grant(t, s, 5)
			assert.Equal(t, int64(5), g.Granted)
			assert.True(t, result.Consumed)
			assert.Equal(t, Paused, result.Snapshot.State)
			assert.Equal(t, int64(5), result.Snapshot.Completed)
			assert.Equal(t, int64(5), result.Snapshot.LastCheckpointStep())
			assert.FileExists(t, result.Snapshot.LastCheckpoint.Weights)
			assert.Zero(t, result.Snapshot.Remaining())

			g, result = grant(t, s, 100)
			assert.Equal(t, int64(7), g.Granted, "clipped at the cap")
			assert.True(t, result.Consumed)
			assert.True(t, result.Finished)
			assert.Equal(t, Completed, result.Snapshot.State)
			assert.FileExists(t, result.Snapshot.LastCheckpoint.Final)

			g, result = grant(t, s, 1)
			assert.True(t, g.AlreadyFinished)
			assert.Zero(t, g.Granted)
			assert.False(t, result.Consumed)

			events := checkEvents(t, s)
			assert.Len(t, kinds(events, KindStep), 12)
			assert.Len(t, kinds(events, KindCheckpoint), 2)
			assert.Len(t, kinds(events, KindBudgetExhausted), 2)
			checkpoints, err := s.Checkpoints(testContext(t))
			require.NoError(t, err)
			assert.Len(t, checkpoints, 2)
		})
	}
}

func TestGrantsAtTheCapAndWithKeys(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	max := int64(4)
	j := fixture.Job(t, dir)
	j.MaxSteps = &max
	gate := fixture.NewGate(t, j)
	s := create(t, m, CreateRequest{Job: j})
	assert.Len(t, s.ID(), 32)

	for _, steps := range []int64{0, -1, 1 << 62} {
		_, err := s.Grant(testContext(t), GrantRequest{Steps: steps})
		assert.ErrorIs(t, err, ErrBadGrant)
	}
	first, err := s.Grant(testContext(t), GrantRequest{Steps: 6, Key: "retry"})
	require.NoError(t, err)
	assert.Equal(t, int64(4), first.Granted, "clipped at the cap")
	again, err := s.Grant(testContext(t), GrantRequest{Steps: 6, Key: "retry"})
	require.NoError(t, err)
	assert.True(t, again.Repeated)
	assert.Equal(t, first.Granted, again.Granted)
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 3, Key: "retry"})
	require.ErrorIs(t, err, ErrKeyReused)
	over, err := s.Grant(testContext(t), GrantRequest{Steps: 1})
	require.NoError(t, err)
	assert.Zero(t, over.Granted, "the cap is reached")
	assert.Equal(t, int64(4), s.Snapshot().Allowed)

	impatient, cancel := context.WithCancel(context.Background())
	cancel()
	result := s.WaitGrant(impatient, first)
	assert.True(t, result.TimedOut)
	assert.False(t, result.Consumed)
	gate.Open(4)
	assert.True(t, s.WaitGrant(testContext(t), again).Consumed)
}

func TestTwoGrantsEndAtOnePause(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	gate := fixture.NewGate(t, j)
	s := create(t, m, CreateRequest{Job: j, Grant: 3})
	waitState(t, s, Running)
	second, err := s.Grant(testContext(t), GrantRequest{Steps: 2})
	require.NoError(t, err)
	gate.Open(5)
	result := s.WaitGrant(testContext(t), second)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(5), result.Snapshot.Completed)
	assert.Len(t, kinds(checkEvents(t, s), KindBudgetExhausted), 2)
}

func TestACapOfZeroCompletesWithoutTraining(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	max := int64(-3)
	j.MaxSteps = &max
	s := create(t, m, CreateRequest{Job: j})
	snapshot := waitState(t, s, Completed)
	assert.Zero(t, snapshot.Completed)
	assert.Empty(t, kinds(checkEvents(t, s), KindStep))
}

func TestANewSessionInAnOldRunFolderCountsFromItsCheckpoint(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	s := create(t, m, CreateRequest{ID: "first", Job: fixture.Job(t, dir), Grant: 6})
	waitState(t, s, Paused)
	require.NoError(t, s.Abort(testContext(t)))
	waitState(t, s, Aborted)

	s = create(t, m, CreateRequest{ID: "second", Job: fixture.Job(t, dir)})
	snapshot, err := s.WaitReady(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, Paused, snapshot.State)
	assert.Equal(t, int64(6), snapshot.Completed)
	assert.Equal(t, int64(6), snapshot.Allowed)
	assert.Equal(t, int64(6), snapshot.LastCheckpointStep())
	_, result := grant(t, s, 4)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(10), result.Snapshot.Completed)
}

func TestCreateRefusals(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	create(t, m, CreateRequest{ID: "one", Job: j})
	other := fixture.Job(t, dir)
	other.Name = "other"
	invalid := fixture.Job(t, dir)
	invalid.BatchSize, invalid.Steps = 0, 0

	_, err := m.Create(testContext(t), CreateRequest{ID: "one", Job: other})
	assert.ErrorIs(t, err, ErrExists)
	_, err = m.Create(testContext(t), CreateRequest{ID: "two", Job: j})
	assert.ErrorIs(t, err, ErrRunFolderBusy)
	_, err = m.Create(testContext(t), CreateRequest{ID: "a\nb", Job: other})
	assert.ErrorIs(t, err, ErrBadID)
	_, err = m.Create(testContext(t), CreateRequest{Grant: -1, Job: other})
	assert.ErrorIs(t, err, ErrBadGrant)
	_, err = m.Create(testContext(t), CreateRequest{Job: invalid})
	var problems *job.Invalid
	require.ErrorAs(t, err, &problems)
	assert.Len(t, problems.Problems, 2)
	other.Output = filepath.Join(j.Engine.Model, "tokenizer", "spiece.model") // a file
	_, err = m.Create(testContext(t), CreateRequest{Job: other})
	require.ErrorAs(t, err, &problems)
	assert.Equal(t, "output", problems.Problems[0].Field)
	assert.Len(t, m.Sessions(), 1)
	assert.Empty(t, m.reserved)
}

func TestAbort(t *testing.T) {
	for name, launcher := range map[string]func(testing.TB) worker.Launcher{"process": childWorker, "goroutine": localWorker} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, Options{Launcher: launcher(t)})
			j := fixture.Job(t, dir)
			gate := fixture.NewGate(t, j)
			s := create(t, m, CreateRequest{Job: j})
			waitState(t, s, Paused)
			g, err := s.Grant(testContext(t), GrantRequest{Steps: 20})
			require.NoError(t, err)
			gate.Open(3)
			_, err = s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 3 })
			require.NoError(t, err)

			require.NoError(t, s.Abort(testContext(t)))
			assert.True(t, s.WaitGrant(testContext(t), g).Stopped)
			require.NoError(t, s.Abort(testContext(t)))
			snapshot := waitState(t, s, Aborted)
			assert.Contains(t, []int64{3, 4}, snapshot.Completed)
			assert.Equal(t, snapshot.Completed, snapshot.LastCheckpointStep())
			require.NoError(t, s.Abort(testContext(t)))
			assert.Equal(t, Aborted, s.Snapshot().State)
			assert.Zero(t, s.Snapshot().PID)
			checkEvents(t, s)
		})
	}
}

func TestAStuckWorkerIsKilled(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t), AbortGrace: 10 * time.Millisecond, KillGrace: 10 * time.Millisecond})
	j := fixture.Faults(fixture.Job(t, dir), fake.Faults{HangAt: 1})
	s := create(t, m, CreateRequest{Job: j, Grant: 5})
	waitState(t, s, Running)
	require.NoError(t, s.Abort(testContext(t)))
	snapshot := waitState(t, s, Aborted)
	assert.Zero(t, snapshot.Completed)
}

func TestErrorsEndTheSession(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Faults(fixture.Job(t, dir), fake.Faults{FailAt: 4, FailCode: engine.Numeric})
	s := create(t, m, CreateRequest{Job: j, Grant: 10})
	snapshot := waitState(t, s, Failed)
	assert.Equal(t, "numeric", snapshot.ErrorCode)
	assert.Contains(t, snapshot.Error, "step 4")
	assert.Equal(t, int64(3), snapshot.LastCheckpointStep(), "the last good state is saved")
	assert.Contains(t, readLog(t, s.StreamLogs()), "error: "+snapshot.Error)
	assert.Len(t, kinds(checkEvents(t, s), KindError), 1)
}

func TestACacheThatIsRemovedInterrupts(t *testing.T) {
	dir := t.TempDir()
	caches := filepath.Join(dir, "cache")
	var once sync.Once
	removing := &fake.Engine{OnStep: func(_ context.Context, step int64) (err error) {
		once.Do(func() {
			if err = os.RemoveAll(caches); err == nil {
				err = engine.Errorf(engine.NotFound, "cannot open the latents")
			}
		})
		return err
	}}
	m := open(t, dir, Options{CacheDir: caches, Launcher: worker.Local{Engine: removing}})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir), Grant: 5})
	snapshot := waitState(t, s, Interrupted, Failed)
	require.Equal(t, Interrupted, snapshot.State)
	for _, text := range []string{"cannot open the latents", caches, "grant steps"} {
		assert.Contains(t, snapshot.Interruption, text)
	}
	_, result := grant(t, s, 3)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(3), result.Snapshot.Completed)
	checkEvents(t, s)
}

func TestAKilledWorkerCanBeGrantedAgain(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	j := fixture.Job(t, dir)
	gate := fixture.NewGate(t, j)
	s := create(t, m, CreateRequest{Job: j, Grant: 5})
	gate.Open(5)
	snapshot := waitState(t, s, Paused)
	g, err := s.Grant(testContext(t), GrantRequest{Steps: 10})
	require.NoError(t, err)
	gate.Open(2)
	_, err = s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 7 })
	require.NoError(t, err)
	child, err := os.FindProcess(snapshot.PID)
	require.NoError(t, err)
	require.NoError(t, child.Kill())

	assert.True(t, s.WaitGrant(testContext(t), g).Stopped)
	snapshot = waitState(t, s, Interrupted)
	assert.Contains(t, snapshot.Interruption, "SIGKILL")
	assert.Equal(t, int64(5), snapshot.Completed)
	assert.Equal(t, int64(5), snapshot.Allowed)

	gate.Open(3)
	_, result := grant(t, s, 3)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(8), result.Snapshot.Completed)
	assert.Equal(t, 2, result.Snapshot.Attempt)
	assert.Empty(t, result.Snapshot.Interruption)
	checkEvents(t, s)
}

func TestSessionsWaitForMemory(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Memory: 10 << 20})
	jobs := make([]*job.Job, 3)
	for i := range jobs {
		jobs[i] = fixture.Faults(fixture.Job(t, dir), fake.Faults{Memory: 6 << 20})
		jobs[i].Name = string(rune('a' + i))
	}
	fixture.Faults(jobs[2], fake.Faults{Memory: 11 << 20})
	first := create(t, m, CreateRequest{Job: jobs[0]})
	waitState(t, first, Paused)
	second := create(t, m, CreateRequest{Job: jobs[1], Grant: 2})
	_, err := second.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Stage.Stage == "queued" })
	require.NoError(t, err)
	assert.Equal(t, Initializing, second.Snapshot().State)

	third := create(t, m, CreateRequest{Job: jobs[2]})
	snapshot := waitState(t, third, Failed)
	assert.Equal(t, "out_of_memory", snapshot.ErrorCode)

	require.NoError(t, first.Abort(testContext(t)))
	waitState(t, second, Paused)
	assert.Equal(t, int64(2), second.Snapshot().Completed)
}

func TestAQueuedSessionCanBeAborted(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Memory: 10 << 20})
	a, b := fixture.Faults(fixture.Job(t, dir), fake.Faults{Memory: 6 << 20}), fixture.Faults(fixture.Job(t, dir), fake.Faults{Memory: 6 << 20})
	b.Name = "b"
	waitState(t, create(t, m, CreateRequest{Job: a}), Paused)
	queued := create(t, m, CreateRequest{Job: b})
	_, err := queued.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Stage.Stage == "queued" })
	require.NoError(t, err)
	require.NoError(t, queued.Abort(testContext(t)))
	waitState(t, queued, Aborted)
}

func TestDeleteFreesTheID(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	s := create(t, m, CreateRequest{ID: "same", Job: fixture.Job(t, dir), Grant: 3})
	waitState(t, s, Paused)
	feed, logs := s.Subscribe(s.Snapshot().LastEvent), s.StreamLogs()
	require.NoError(t, m.Delete(testContext(t), "same"))
	assert.ErrorIs(t, m.Delete(testContext(t), "same"), ErrNotFound)
	_, err := m.Session("same")
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 1})
	assert.ErrorIs(t, err, ErrNotFound)
	_, err = feed.Next(testContext(t))
	assert.Equal(t, io.EOF, err)
	for err = nil; err == nil; {
		_, err = logs.Next(testContext(t))
	}
	assert.Equal(t, io.EOF, err)
	assert.DirExists(t, filepath.Join(s.Job().RunDir(), "checkpoint-3"), "files stay")

	again := create(t, m, CreateRequest{ID: "same", Job: fixture.Job(t, dir)})
	snapshot := waitState(t, again, Paused)
	assert.Equal(t, int64(3), snapshot.Completed)
}

func TestEveryReaderGetsEverything(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir), Grant: 20})
	early, all := s.Subscribe(0), m.Subscribe(0)
	first, second := s.StreamLogs(), s.StreamLogs()
	waitState(t, s, Completed)
	want := checkEvents(t, s)
	for _, feed := range []*Feed{early, s.Subscribe(0), all} {
		var got []Event
		for len(got) < len(want) {
			events, err := feed.Next(testContext(t))
			require.NoError(t, err)
			got = append(got, events...)
		}
		assert.Equal(t, want, got)
	}
	events, err := s.Subscribe(want[2].Index).Next(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, want[3], events[0])

	lines := readLog(t, first)
	assert.Equal(t, lines, readLog(t, second))
	assert.Equal(t, lines, readLog(t, s.StreamLogs()), "a late reader of a finished session ends as well")
	assert.Contains(t, lines[len(lines)-2]+lines[len(lines)-1], "20/20")
	assert.Equal(t, lines[len(lines)-3:], s.Logs(3))
}

// readLog reads a log to its end.
func readLog(t testing.TB, r *LogReader) (lines []string) {
	t.Helper()
	for {
		more, err := r.Next(testContext(t))
		if err == io.EOF {
			return lines
		}
		require.NoError(t, err)
		lines = append(lines, more...)
	}
}

func TestManualRequests(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	gate := fixture.NewGate(t, j)
	s := create(t, m, CreateRequest{Job: j, Grant: 10})
	gate.Open(2)
	_, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 2 })
	require.NoError(t, err)
	require.NoError(t, s.RequestCheckpoint(testContext(t)))
	snapshot, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.LastCheckpoint != nil })
	require.NoError(t, err)
	assert.Equal(t, "manual", snapshot.LastCheckpoint.Reason)
	require.NoError(t, s.RequestSample(testContext(t)))
	feed := s.Subscribe(0)
	for found := false; !found; {
		events, err := feed.Next(testContext(t))
		require.NoError(t, err)
		found = len(kinds(events, KindSample)) > 0
	}
	require.NoError(t, s.Abort(testContext(t)))
	waitState(t, s, Aborted)
	assert.ErrorIs(t, s.RequestCheckpoint(testContext(t)), ErrFinished)
}

func TestClosingInterruptsAndReopeningContinues(t *testing.T) {
	dir := t.TempDir()
	j := fixture.Job(t, dir)
	gate := fixture.NewGate(t, j)
	m := open(t, dir, Options{Launcher: childWorker(t)})
	s := create(t, m, CreateRequest{ID: "s", Job: j, Grant: 10, Labels: map[string]string{"a": "b"}})
	gate.Open(4)
	_, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 4 })
	require.NoError(t, err)
	require.NoError(t, m.Close(testContext(t)))
	_, err = m.Create(testContext(t), CreateRequest{Job: j})
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 1})
	require.ErrorIs(t, err, ErrClosed)

	m = open(t, dir, Options{Launcher: childWorker(t)})
	s, err = m.Session("s")
	require.NoError(t, err)
	snapshot := waitState(t, s, Interrupted)
	assert.Contains(t, []int64{4, 5}, snapshot.Completed, "the step at work is finished and saved")
	assert.Equal(t, snapshot.Completed, snapshot.Allowed)
	assert.Equal(t, map[string]string{"a": "b"}, s.Labels())
	assert.NotEmpty(t, s.Logs(0))
	gate.Open(5)
	_, result := grant(t, s, 2)
	assert.Equal(t, snapshot.Completed+2, result.Snapshot.Completed)
	checkEvents(t, s)
}

func TestWhoHearsOfASessionFindsIt(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	feed := m.Subscribe(m.LastSeq())
	found := make(chan error, 1)
	go func() {
		events, err := feed.Next(testContext(t))
		if err == nil {
			_, err = m.Session(events[0].Session)
		}
		found <- err
	}()
	create(t, m, CreateRequest{Job: fixture.Job(t, dir)})
	require.NoError(t, <-found)
}
