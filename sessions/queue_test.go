package sessions

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/worker"
)

// wholeBudget asks for all steps of a job at once, in a queue.
func wholeBudget(id string, j *job.Job) CreateRequest {
	j.MaxSteps = &j.Steps
	return CreateRequest{ID: id, Job: j, Grant: j.Steps, Queue: "training"}
}

// queueOfThree has the first at work behind its gate, and two that wait.
func queueOfThree(t *testing.T, m *Manager, dir string) (gate *fixture.Gate, queued [3]*Session) {
	t.Helper()
	for i := range queued {
		j := fixture.Job(t, filepath.Join(dir, string(rune('a'+i))))
		if i == 0 {
			gate = fixture.NewGate(t, j)
		}
		queued[i] = create(t, m, wholeBudget(string(rune('a'+i)), j))
	}
	return gate, queued
}

func waitPosition(t *testing.T, s *Session, position int) {
	t.Helper()
	_, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.QueuePosition == position })
	require.NoError(t, err)
}

func TestAQueueRunsOneSessionAtATime(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	gate, queued := queueOfThree(t, m, dir)
	waitState(t, queued[0], Running)
	for position, s := range queued {
		assert.Equal(t, position, s.Snapshot().QueuePosition)
	}
	assert.Equal(t, Initializing, queued[2].Snapshot().State)
	assert.Equal(t, "queued", queued[2].Snapshot().Stage.Stage)
	assert.Equal(t, int64(20), queued[2].Snapshot().Allowed)

	require.NoError(t, queued[1].Abort(testContext(t)))
	assert.Equal(t, Aborted, queued[1].Snapshot().State, "an abort of one that waits works at once")
	assert.Zero(t, queued[1].Snapshot().QueuePosition)
	waitPosition(t, queued[2], 1)
	gate.Open(20)
	waitState(t, queued[0], Completed)
	assert.Equal(t, int64(20), waitState(t, queued[2], Completed).Completed)
	for _, s := range queued {
		checkEvents(t, s)
	}
}

func TestTheTurnPassesOnWhenASessionIsDeleted(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	_, queued := queueOfThree(t, m, dir)
	require.NoError(t, m.Delete(testContext(t), "b"))
	require.NoError(t, m.Delete(testContext(t), "a"))
	waitState(t, queued[2], Completed)
}

func TestSessionsOfOneQueueMayShareARunFolder(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	short, long := fixture.Job(t, dir), fixture.Job(t, dir)
	short.Steps = 6
	first := create(t, m, wholeBudget("first", short))
	second := create(t, m, wholeBudget("second", long))
	_, err := m.Create(testContext(t), CreateRequest{Job: fixture.Job(t, dir)})
	assert.ErrorIs(t, err, ErrRunFolderBusy)
	assert.Equal(t, int64(6), waitState(t, first, Completed).Completed)
	snapshot := waitState(t, second, Completed)
	assert.Equal(t, int64(20), snapshot.Completed, "a whole budget ends at the last step, also after a resume")
	assert.Len(t, kinds(checkEvents(t, second), KindStep), 14)
}

func TestAQueueSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	gate, queued := queueOfThree(t, m, dir)
	gate.Open(3)
	_, err := queued[0].Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 3 })
	require.NoError(t, err)
	require.NoError(t, m.Close(testContext(t)))

	m = open(t, dir, Options{Launcher: childWorker(t)})
	for i, id := range []string{"a", "b", "c"} {
		queued[i], err = m.Session(id)
		require.NoError(t, err)
	}
	for position, s := range queued {
		assert.Equal(t, position, s.Snapshot().QueuePosition)
	}
	gate.Open(20)
	first := waitState(t, queued[0], Completed)
	assert.Equal(t, int64(20), first.Completed)
	assert.Equal(t, 2, first.Attempt)
	for _, s := range queued[1:] {
		assert.Equal(t, int64(20), waitState(t, s, Completed).Completed)
	}
	for _, s := range queued {
		checkEvents(t, s)
	}
}

func TestASessionOfAQueueGoesOnWhenItsWorkerDies(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	j := fixture.Job(t, dir)
	j.Save.Every = 4
	gate := fixture.NewGate(t, j)
	s := create(t, m, wholeBudget("s", j))
	gate.Open(6)
	snapshot, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 6 })
	require.NoError(t, err)
	child, err := os.FindProcess(snapshot.PID)
	require.NoError(t, err)
	require.NoError(t, child.Kill())
	gate.Open(40)
	snapshot = waitState(t, s, Completed)
	assert.Equal(t, int64(20), snapshot.Completed)
	assert.Equal(t, int64(20), snapshot.Allowed)
	assert.Equal(t, 2, snapshot.Attempt)
	checkEvents(t, s)
}

func TestWorkersThatDieWithoutProgressEndTheSession(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	s := create(t, m, wholeBudget("s", fixture.Faults(fixture.Job(t, dir), fake.Faults{CrashAt: 2})))
	snapshot := waitState(t, s, Failed)
	assert.Equal(t, "worker", snapshot.ErrorCode)
	assert.Equal(t, fruitlessLimit, snapshot.Attempt)
	checkEvents(t, s)
}

// dying is a launcher whose first workers end before they take their job.
type dying struct {
	worker.Launcher
	left atomic.Int64
}

func (d *dying) Launch(output func(string)) (worker.Process, error) {
	process, err := d.Launcher.Launch(output)
	if err == nil && d.left.Add(-1) >= 0 {
		process.Kill()
	}
	return process, err
}

func TestWorkersThatDieAtTheirStart(t *testing.T) {
	dir := t.TempDir()
	launcher := &dying{Launcher: childWorker(t)}
	m := open(t, dir, Options{Launcher: launcher})
	launcher.left.Store(2)
	waitState(t, create(t, m, wholeBudget("queued", fixture.Job(t, filepath.Join(dir, "queued")))), Completed)
	launcher.left.Store(1)
	s := create(t, m, CreateRequest{ID: "granted", Job: fixture.Job(t, filepath.Join(dir, "granted")), Grant: 2})
	assert.Contains(t, waitState(t, s, Interrupted).Interruption, "SIGKILL")
	_, result := grant(t, s, 2)
	assert.True(t, result.Consumed)
	checkEvents(t, s)
}

func TestACappedBudgetIsClippedAfterAResume(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	waitState(t, create(t, m, CreateRequest{ID: "first", Job: fixture.Job(t, dir), Grant: 6}), Paused)
	require.NoError(t, m.Delete(testContext(t), "first"))
	j := fixture.Job(t, dir)
	j.MaxSteps = &j.Steps
	s := create(t, m, CreateRequest{ID: "second", Job: j, Grant: 20})
	snapshot := waitState(t, s, Completed)
	assert.Equal(t, int64(20), snapshot.Completed)
	assert.Equal(t, int64(20), snapshot.Allowed)
	events := kinds(checkEvents(t, s), KindBudgetExhausted)
	assert.Len(t, events, 1)
}

func TestWhereToStartCountsForTheFirstWorkerOnly(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	j := fixture.Job(t, dir)
	j.Resume = job.ResumeNone
	s := create(t, m, CreateRequest{ID: "s", Job: j, Grant: 3})
	waitState(t, s, Paused)
	require.NoError(t, m.Close(testContext(t)))
	m = open(t, dir, Options{Launcher: childWorker(t)})
	s, err := m.Session("s")
	require.NoError(t, err)
	waitState(t, s, Interrupted)
	_, result := grant(t, s, 2)
	assert.True(t, result.Consumed)
	assert.Equal(t, int64(5), result.Snapshot.Completed)
}

func TestTheTurnPassesOnWhenTheEndIsDurable(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	_, queued := queueOfThree(t, m, dir)
	waitState(t, queued[0], Running)
	a := newActor(queued[0], Snapshot{State: Completed}, nil)
	a.blocked = errors.New("the index takes nothing")
	a.leaveQueue()
	assert.Equal(t, 0, m.queues.position(queued[0]), "a restart would find two sessions at work")
	a.blocked, a.change.dirty = nil, true
	a.leaveQueue()
	assert.Equal(t, 0, m.queues.position(queued[0]))
	a.change.dirty = false
	a.leaveQueue()
	assert.Equal(t, -1, m.queues.position(queued[0]))
}

func TestAWarningThatIsOverLeavesTheSnapshot(t *testing.T) {
	dir := t.TempDir()
	s := create(t, open(t, dir, Options{}), CreateRequest{ID: "s", Job: fixture.Job(t, dir)})
	waitState(t, s, Paused)
	a := newActor(s, Snapshot{}, nil)
	a.handle(worker.Message{Type: worker.TypeWarning, Line: "one"})
	a.handle(worker.Message{Type: worker.TypeWarning, Line: "two"})
	published := a.state.Warnings
	a.handle(worker.Message{Type: worker.TypeSettled, Line: "one"})
	assert.Equal(t, []string{"two"}, a.state.Warnings)
	assert.Equal(t, []string{"one", "two"}, published, "readers may have the old list")
	assert.Len(t, a.change.update.Events, 2, "events stay")
}
