package sessions

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// open starts a manager on dir, and closes it at the end of the test.
func open(t testing.TB, dir string, options Options) *Manager {
	t.Helper()
	options.DataDir = filepath.Join(dir, "data")
	if options.Launcher == nil {
		options.Launcher = localWorker(t)
	}
	m, err := Open(testContext(t), options)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		assert.NoError(t, m.Close(ctx))
	})
	return m
}

func create(t testing.TB, m *Manager, request CreateRequest) *Session {
	t.Helper()
	s, err := m.Create(testContext(t), request)
	require.NoError(t, err)
	return s
}

func waitState(t testing.TB, s *Session, states ...State) Snapshot {
	t.Helper()
	snapshot, err := s.Wait(testContext(t), func(snapshot Snapshot) bool {
		for _, state := range states {
			if snapshot.State == state {
				return true
			}
		}
		return false
	})
	require.NoError(t, err, "last state: %s %s %s", snapshot.State, snapshot.Error, snapshot.Interruption)
	return snapshot
}

// grant grants and waits.
func grant(t testing.TB, s *Session, steps int64) (Grant, GrantResult) {
	t.Helper()
	g, err := s.Grant(testContext(t), GrantRequest{Steps: steps})
	require.NoError(t, err)
	return g, s.WaitGrant(testContext(t), g)
}

// checkEvents reads all events of a session and checks what holds for every history.
func checkEvents(t testing.TB, s *Session) []Event {
	t.Helper()
	events, err := s.Events(testContext(t), 0, 100_000)
	require.NoError(t, err)
	state := State("")
	for i, e := range events {
		require.Equal(t, int64(i+1), e.Index, "the index has no gaps")
		require.Equal(t, s.ID(), e.Session)
		if e.Kind == KindState {
			var change StateEvent
			require.NoError(t, json.Unmarshal(e.Data, &change))
			require.Equal(t, state, change.From)
			if state != "" {
				require.NoError(t, checkTransition(change.From, change.To))
			}
			state = change.To
		}
	}
	return events
}

// checkSteps checks that steps come in order within an attempt, and that an attempt begins at a step whose predecessors have
// all been reported. It returns the last step and its attempt.
func checkSteps(t testing.TB, events []Event) (step int64, attempt int) {
	t.Helper()
	for _, e := range kinds(events, KindStep) {
		data := decode[StepEvent](t, e)
		inOrder := data.Attempt == attempt && data.Step == step+1 || data.Attempt > attempt && data.Step <= step+1
		assert.True(t, inOrder, "step %d of attempt %d after step %d of attempt %d", data.Step, data.Attempt, step, attempt)
		step, attempt = data.Step, data.Attempt
	}
	return step, attempt
}

// decode reads the data of an event.
func decode[T any](t testing.TB, e Event) (data T) {
	t.Helper()
	require.NoError(t, json.Unmarshal(e.Data, &data))
	return data
}

func kinds(events []Event, kind Kind) (found []Event) {
	for _, e := range events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}
