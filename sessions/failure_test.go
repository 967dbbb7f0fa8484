package sessions

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// TestAGrantThatCannotBeStoredIsNoGrant makes the database refuse grants.
func TestAGrantThatCannotBeStoredIsNoGrant(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir)})
	waitState(t, s, Paused)
	db, err := sql.Open("sqlite", filepath.Join(dir, "data", store.FileName))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TRIGGER refuse BEFORE INSERT ON grants BEGIN SELECT RAISE(ABORT, 'refused by the test'); END")
	require.NoError(t, err)

	before := s.Snapshot()
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 5})
	require.ErrorContains(t, err, "refused by the test")
	snapshot := s.Snapshot()
	assert.Equal(t, Paused, snapshot.State)
	assert.Equal(t, before.Allowed, snapshot.Allowed)

	_, err = db.Exec("DROP TRIGGER refuse")
	require.NoError(t, err)
	_, result := grant(t, s, 5)
	assert.True(t, result.Consumed)
	checkEvents(t, s)
}

// TestStepsThatCannotBeStoredPauseTheTraining makes the database refuse events of steps for a while.
func TestStepsThatCannotBeStoredPauseTheTraining(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir), Grant: 3})
	waitState(t, s, Paused)
	allow := refuse(t, dir, "INSERT ON events WHEN NEW.kind = 'step'")
	g, err := s.Grant(testContext(t), GrantRequest{Steps: 5})
	require.NoError(t, err)
	snapshot, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Stage.Stage == "waiting_for_index" })
	require.NoError(t, err)
	assert.Equal(t, int64(3), snapshot.Completed, "what is not durable is not shown")
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 1})
	require.ErrorContains(t, err, "refused by the test")
	require.ErrorContains(t, s.Abort(testContext(t)), "refused by the test")

	allow()
	result := s.WaitGrant(testContext(t), g)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(8), result.Snapshot.Completed)
	assert.Equal(t, 1, result.Snapshot.Attempt, "by the same worker")
	assert.Contains(t, result.Snapshot.Warnings[0], "refused by the test")
	checkEvents(t, s)
}

// TestASessionThatLacksOnlyItsEndIsCompleted stops a server between the last checkpoint and the completion: nobody could
// grant that session another step.
func TestASessionThatLacksOnlyItsEndIsCompleted(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	j := fixture.Job(t, dir)
	j.MaxSteps = &j.Steps
	s := create(t, m, CreateRequest{ID: "s", Job: j})
	waitState(t, s, Paused)
	allow := refuse(t, dir, `INSERT ON events WHEN NEW.kind = 'state' AND CAST(NEW.data AS TEXT) LIKE '%"to":"completed"%'`)
	_, err := s.Grant(testContext(t), GrantRequest{Steps: 20})
	require.NoError(t, err)
	_, err = s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Stage.Stage == "waiting_for_index" })
	require.NoError(t, err)
	require.NoError(t, m.Close(testContext(t)))
	allow()
	m = open(t, dir, Options{Launcher: childWorker(t)})
	s, err = m.Session("s")
	require.NoError(t, err)
	assert.Equal(t, int64(20), waitState(t, s, Completed).Completed)
	checkEvents(t, s)
}

// TestAFullIndexDelaysNoShutdown closes and deletes sessions that wait for the index.
func TestAFullIndexDelaysNoShutdown(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	var blocked [2]*Session
	for i, id := range []string{"a", "b"} {
		blocked[i] = create(t, m, CreateRequest{ID: id, Job: fixture.Job(t, filepath.Join(dir, id)), Grant: 3})
		waitState(t, blocked[i], Paused)
	}
	allow := refuse(t, dir, "INSERT ON events WHEN NEW.kind = 'step'")
	for _, s := range blocked {
		_, err := s.Grant(testContext(t), GrantRequest{Steps: 5})
		require.NoError(t, err)
		_, err = s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Stage.Stage == "waiting_for_index" })
		require.NoError(t, err)
	}
	require.NoError(t, m.Delete(testContext(t), "a"))
	<-blocked[0].actor.done
	require.NoError(t, m.Close(testContext(t)))
	allow()
	m = open(t, dir, Options{Launcher: childWorker(t)})
	s, err := m.Session("b")
	require.NoError(t, err)
	waitState(t, s, Interrupted)
	// The index may not know the newest checkpoint; the run folder does.
	grant(t, s, 1)
	assert.GreaterOrEqual(t, waitState(t, s, Paused).Completed, int64(5), "the checkpoint is found")
	checkEvents(t, s)
}

// TestManyClients grants from many goroutines while others read; the budget is the sum of what was answered.
func TestManyClients(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	j.Steps = 1000
	s := create(t, m, CreateRequest{Job: j})
	waitState(t, s, Paused)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for range 5 {
				_, result := grant(t, s, 3)
				assert.True(t, result.Consumed)
				snapshot := s.Snapshot()
				assert.LessOrEqual(t, snapshot.Completed, snapshot.Allowed)
			}
		})
	}
	clients.Wait()
	snapshot := waitState(t, s, Paused)
	assert.Equal(t, int64(120), snapshot.Completed)
	assert.Equal(t, int64(120), snapshot.Allowed)
	events := checkEvents(t, s)
	assert.Len(t, kinds(events, KindStep), 120)
	assert.Len(t, kinds(events, KindBudgetExhausted), 40)
}

func TestTransitions(t *testing.T) {
	states := []State{Initializing, Paused, Running, Aborting, Aborted, Completed, Failed, Interrupted}
	assert.Len(t, transitions, len(states))
	for _, from := range states {
		for to, occasion := range transitions[from] {
			assert.Contains(t, states, to)
			assert.NotEmpty(t, occasion)
			assert.NoError(t, checkTransition(from, to))
		}
		if from.Terminal() {
			assert.Error(t, checkTransition(from, Running))
		} else if from != Aborting {
			assert.NoError(t, checkTransition(from, Aborting), "an abort is possible in %s", from)
		}
	}
}

// refuse makes the database refuse what the trigger describes until the returned function is called.
func refuse(t *testing.T, dir, trigger string) (allow func()) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "data", store.FileName)+"?_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	_, err = db.Exec("CREATE TRIGGER refuse BEFORE " + trigger + " BEGIN SELECT RAISE(ABORT, 'refused by the test'); END")
	require.NoError(t, err)
	return func() {
		_, err := db.Exec("DROP TRIGGER refuse")
		require.NoError(t, err)
	}
}

// gatedLauncher starts workers when told to.
type gatedLauncher struct {
	worker.Launcher
	asked, open chan struct{}
}

func (l gatedLauncher) Launch(output func(line string)) (worker.Process, error) {
	close(l.asked)
	<-l.open
	return l.Launcher.Launch(output)
}

// A worker that comes when its session is deleted already ends, also when the index takes nothing.
func TestADeletedSessionKeepsNoWorkerThatComesLate(t *testing.T) {
	dir := t.TempDir()
	launcher := gatedLauncher{localWorker(t), make(chan struct{}), make(chan struct{})}
	m := open(t, dir, Options{Launcher: launcher})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir)})
	<-launcher.asked
	allow := refuse(t, dir, "UPDATE OF record ON sessions")
	defer allow()
	require.True(t, s.actor.post(s.actor.delete))
	require.True(t, s.actor.post(func() {})) // taken when what the deletion changed was refused
	close(launcher.open)
	select {
	case <-s.actor.done:
	case <-testContext(t).Done():
		t.Fatal("the worker lives on")
	}
}

func TestASessionThatCannotBeStoredLeavesNoRunFolder(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	allow := refuse(t, dir, "INSERT ON sessions")
	j := fixture.Job(t, dir)
	_, err := m.Create(testContext(t), CreateRequest{Job: j})
	require.ErrorContains(t, err, "refused by the test")
	assert.NoDirExists(t, j.RunDir())
	require.NoError(t, os.MkdirAll(j.RunDir(), 0o755))
	_, err = m.Create(testContext(t), CreateRequest{Job: j})
	require.ErrorContains(t, err, "refused by the test")
	assert.DirExists(t, j.RunDir(), "a folder that was there stays")
	allow()
}

// TestATurnThatCannotBeStoredComesLater refuses every change of the session whose turn it is.
func TestATurnThatCannotBeStoredComesLater(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	gate, queued := queueOfThree(t, m, dir)
	waitState(t, queued[0], Running)
	allow := refuse(t, dir, "UPDATE ON sessions WHEN NEW.id = 'b'")
	gate.Open(20)
	waitState(t, queued[0], Completed)
	feed := queued[1].StreamLogs()
	for refused := false; !refused; {
		lines, err := feed.Next(testContext(t))
		require.NoError(t, err)
		refused = strings.Contains(strings.Join(lines, "\n"), "refused by the test")
	}
	assert.Equal(t, 1, queued[1].Snapshot().QueuePosition)
	allow()
	waitState(t, queued[2], Completed)
	assert.Equal(t, Completed, queued[1].Snapshot().State)
}

// TestADeletedSessionPassesItsTurnOn although nothing about its end can be stored.
func TestADeletedSessionPassesItsTurnOn(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	_, queued := queueOfThree(t, m, dir)
	waitState(t, queued[0], Running)
	allow := refuse(t, dir, "UPDATE OF record ON sessions WHEN NEW.id = 'a'")
	require.NoError(t, m.Delete(testContext(t), "a"))
	waitState(t, queued[2], Completed)
	allow()
}

// TestAStoreThatRecoversInTimeLosesNoSession starts a server on a store that refuses everything at first.
func TestAStoreThatRecoversInTimeLosesNoSession(t *testing.T) {
	dir := t.TempDir()
	j := fixture.Job(t, dir)
	gate := fixture.NewGate(t, j)
	m := open(t, dir, Options{})
	gate.Open(3)
	s := create(t, m, wholeBudget("s", j))
	_, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 3 })
	require.NoError(t, err)
	require.NoError(t, m.Close(testContext(t)))

	allow := refuse(t, dir, "UPDATE ON sessions")
	m = open(t, dir, Options{})
	s, err = m.Session("s")
	require.NoError(t, err)
	lines, err := s.StreamLogs().Next(testContext(t))
	for !strings.Contains(strings.Join(lines, "\n"), "refused by the test") {
		require.NoError(t, err)
		lines, err = s.StreamLogs().Next(testContext(t))
	}
	allow()
	gate.Open(20)
	assert.Equal(t, int64(20), waitState(t, s, Completed).Completed)
	checkEvents(t, s)
}

// TestRefusedCommandsHaveNotHappened refuses what a session without a worker is asked for.
func TestRefusedCommandsHaveNotHappened(t *testing.T) {
	dir := t.TempDir()
	trainAndClose(t, dir)
	m := open(t, dir, Options{})
	s, err := m.Session("s")
	require.NoError(t, err)
	waitState(t, s, Interrupted)
	allow := refuse(t, dir, "UPDATE ON sessions")
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 2})
	require.ErrorContains(t, err, "refused by the test")
	assert.Equal(t, Interrupted, s.Snapshot().State)
	require.ErrorContains(t, s.Abort(testContext(t)), "refused by the test")
	assert.Equal(t, Interrupted, s.Snapshot().State)
	allow()
	_, result := grant(t, s, 2)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(10), result.Snapshot.Completed)
	checkEvents(t, s)
}

// TestAnAbortThatCannotBeStoredEndsNothing: the session goes on waiting for memory, and gets it.
func TestAnAbortThatCannotBeStoredEndsNothing(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Memory: 10 << 20})
	a, b := fixture.Faults(fixture.Job(t, dir), fake.Faults{Memory: 6 << 20}), fixture.Faults(fixture.Job(t, dir), fake.Faults{Memory: 6 << 20})
	b.Name = "b"
	first := create(t, m, CreateRequest{Job: a})
	waitState(t, first, Paused)
	second := create(t, m, CreateRequest{ID: "second", Job: b, Grant: 2})
	_, err := second.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Stage.Stage == "queued" })
	require.NoError(t, err)
	allow := refuse(t, dir, "UPDATE ON sessions WHEN NEW.id = 'second'")
	require.ErrorContains(t, second.Abort(testContext(t)), "refused by the test")
	allow()
	require.NoError(t, first.Abort(testContext(t)))
	assert.Equal(t, int64(2), waitState(t, second, Paused).Completed)
}

// TestMemoryThatComesAfterTheEndIsGivenBack admits the plan of a session whose actor has ended.
func TestMemoryThatComesAfterTheEndIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Memory: 10 << 20})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir)})
	waitState(t, s, Paused)
	require.NoError(t, m.Close(testContext(t)))
	whole := engine.Plan{Total: 10 << 20}
	release, err := m.memory.acquire(testContext(t), "cpu", whole)
	require.NoError(t, err)
	s.actor.stopping = false // as if the end had come after the question
	s.actor.plan(1, whole)
	require.Eventually(t, func() bool {
		m.memory.mu.Lock()
		defer m.memory.mu.Unlock()
		return len(m.memory.devices["cpu"].queue) == 1
	}, testTimeout, time.Millisecond)
	release()
	release, err = m.memory.acquire(testContext(t), "cpu", whole)
	require.NoError(t, err)
	release()
}
