package sessions

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/store"
)

// TestASessionThatCannotBeLoadedStopsNoOther spoils the row of one of two sessions.
func TestASessionThatCannotBeLoadedStopsNoOther(t *testing.T) {
	for _, spoiled := range []string{"record = 'no JSON'", "static = '{}'", `record = '{"state": "unheard of"}'`} {
		t.Run(spoiled, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, Options{})
			for _, id := range []string{"a", "b"} {
				waitState(t, create(t, m, CreateRequest{ID: id, Job: fixture.Job(t, filepath.Join(dir, id)), Grant: 2}), Paused)
			}
			require.NoError(t, m.Close(testContext(t)))
			db, err := sql.Open("sqlite", filepath.Join(dir, "data", store.FileName))
			require.NoError(t, err)
			_, err = db.Exec("UPDATE sessions SET " + spoiled + " WHERE id = 'a'")
			require.NoError(t, errors.Join(err, db.Close()))

			m = open(t, dir, Options{})
			s, err := m.Session("b")
			require.NoError(t, err)
			_, result := grant(t, s, 2)
			assert.True(t, result.Consumed)
			_, err = m.Session("a")
			assert.ErrorIs(t, err, ErrNotFound)
			_, err = m.Create(testContext(t), CreateRequest{ID: "a", Job: fixture.Job(t, t.TempDir())})
			assert.ErrorIs(t, err, ErrExists, "what is stored under the id is not overwritten")
		})
	}
}

// TestCreationsDuringTheShutdownAreWholeOrRefused creates sessions while the manager closes.
func TestCreationsDuringTheShutdownAreWholeOrRefused(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	var mu sync.Mutex
	created := map[string]bool{}
	var clients sync.WaitGroup
	started := make(chan struct{}, 4)
	for client := range 4 {
		j := fixture.Job(t, filepath.Join(dir, fmt.Sprint(client)))
		clients.Go(func() {
			for i := 0; ; i++ {
				mine := *j
				mine.Name = fmt.Sprint("run", i)
				id := fmt.Sprint(client, "-", i)
				_, err := m.Create(testContext(t), CreateRequest{ID: id, Job: &mine})
				if err != nil {
					assert.ErrorIs(t, err, ErrClosed)
					return
				}
				mu.Lock()
				created[id] = true
				mu.Unlock()
				if i == 2 {
					started <- struct{}{}
				}
			}
		})
	}
	<-started
	require.NoError(t, m.Close(testContext(t)))
	clients.Wait()
	m = open(t, dir, Options{})
	for _, s := range m.Sessions() {
		assert.True(t, created[s.ID()], "%s was refused, but is there", s.ID())
		delete(created, s.ID())
	}
	assert.Empty(t, created, "these were promised")
}

// TestReadersGetTheLastEventsOfAShutdown reads to the end of every feed while the manager closes.
func TestReadersGetTheLastEventsOfAShutdown(t *testing.T) {
	for range 5 {
		dir := t.TempDir()
		m := open(t, dir, Options{})
		j := fixture.Job(t, dir)
		gate := fixture.NewGate(t, j)
		s := create(t, m, CreateRequest{ID: "s", Job: j, Grant: 5})
		gate.Open(2)
		_, err := s.Wait(testContext(t), func(snapshot Snapshot) bool { return snapshot.Completed == 2 })
		require.NoError(t, err)
		feeds := []*Feed{s.Subscribe(0), m.Subscribe(0)}
		read := make([][]Event, len(feeds))
		var readers sync.WaitGroup
		for i, feed := range feeds {
			events, err := feed.Next(testContext(t))
			require.NoError(t, err)
			read[i] = events
			readers.Go(func() {
				for {
					events, err := feed.Next(testContext(t))
					if err != nil {
						assert.Equal(t, io.EOF, err)
						return
					}
					read[i] = append(read[i], events...)
				}
			})
		}
		require.NoError(t, m.Close(testContext(t)))
		readers.Wait()
		for _, events := range read {
			var last StateEvent
			require.NoError(t, json.Unmarshal(events[len(events)-1].Data, &last))
			assert.Equal(t, Interrupted, last.To)
			assert.Equal(t, int64(len(events)), events[len(events)-1].Index)
		}
	}
}
