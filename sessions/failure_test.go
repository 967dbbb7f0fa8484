package sessions

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/store"
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

// TestStepsThatCannotBeStoredStopTheWorker makes the database refuse events of steps; checkpoints keep what was trained.
func TestStepsThatCannotBeStoredStopTheWorker(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{Launcher: childWorker(t)})
	s := create(t, m, CreateRequest{Job: fixture.Job(t, dir), Grant: 3})
	waitState(t, s, Paused)
	db, err := sql.Open("sqlite", filepath.Join(dir, "data", store.FileName))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.kind = 'step' BEGIN SELECT RAISE(ABORT, 'refused by the test'); END")
	require.NoError(t, err)
	g, err := s.Grant(testContext(t), GrantRequest{Steps: 5})
	require.NoError(t, err)
	assert.True(t, s.WaitGrant(testContext(t), g).Stopped)
	assert.Equal(t, int64(3), waitState(t, s, Interrupted).Completed)

	_, err = db.Exec("DROP TRIGGER refuse")
	require.NoError(t, err)
	_, result := grant(t, s, 2)
	assert.True(t, result.Consumed)
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
