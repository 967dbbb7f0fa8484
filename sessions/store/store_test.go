package store

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openTest(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func create(t *testing.T, s *Store, key, id string) {
	t.Helper()
	_, err := s.Create(context.Background(), Session{Key: key, ID: id, Created: time.Unix(5, 7), RunDir: "/run/" + id,
		Static: []byte(`{"a":1}`), Record: []byte(`{}`)}, Update{Session: key})
	require.NoError(t, err)
}

func TestEverythingSurvivesReopening(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data ?#% folder")
	require.NoError(t, mkdir(dir))
	s, err := Open(ctx, dir)
	require.NoError(t, err)
	create(t, s, "k1", "one")
	update := Update{Session: "k1", Record: []byte(`{"r":2}`),
		Events:      []Event{{Index: 1, Time: time.Unix(9, 1), Kind: "created", Data: []byte(`{}`)}, {Index: 2, Time: time.Unix(9, 2), Kind: "state", Data: []byte(`{"x":1}`)}},
		Grants:      []Grant{{Number: 1, Key: "retry", Steps: 10, Target: 10, Outcome: Pending}},
		Checkpoints: []Checkpoint{{Step: 5, Data: []byte(`{}`)}, {Step: 10, Data: []byte(`{}`)}}}
	events, err := s.Apply(ctx, update)
	require.NoError(t, err)
	assert.Equal(t, int64(1), events[0].Seq)
	_, err = s.Apply(ctx, Update{Session: "k1", Removed: []int64{5}, Grants: []Grant{{Number: 1, Key: "retry", Steps: 10, Target: 12, Outcome: Consumed}}})
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = openTest(t, dir)
	sessions, err := s.Sessions(ctx)
	require.NoError(t, err)
	assert.Equal(t, []Session{{Key: "k1", ID: "one", Created: time.Unix(5, 7).UTC(), RunDir: "/run/one", Static: []byte(`{"a":1}`), Record: []byte(`{"r":2}`)}}, sessions)
	grants, err := s.Grants(ctx, "k1")
	require.NoError(t, err)
	assert.Equal(t, []Grant{{Number: 1, Key: "retry", Steps: 10, Target: 12, Outcome: Consumed}}, grants)
	checkpoints, err := s.Checkpoints(ctx, "k1")
	require.NoError(t, err)
	assert.Equal(t, []Checkpoint{{Step: 10, Data: []byte(`{}`)}}, checkpoints)
	got, err := s.Events(ctx, "k1", 1, 10)
	require.NoError(t, err)
	assert.Equal(t, []Event{{Seq: 2, Session: "k1", ID: "one", Index: 2, Time: time.Unix(9, 2).UTC(), Kind: "state", Data: []byte(`{"x":1}`)}}, got)
	last, err := s.LastIndex(ctx, "k1")
	require.NoError(t, err)
	assert.Equal(t, int64(2), last)
}

func TestAFailedUpdateChangesNothing(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir())
	create(t, s, "k1", "one")
	event := Event{Index: 1, Kind: "state", Data: []byte(`{}`)}
	_, err := s.Apply(ctx, Update{Session: "k1", Record: []byte("changed"), Events: []Event{event, event}})
	require.Error(t, err, "an index may be used once")
	sessions, err := s.Sessions(ctx)
	require.NoError(t, err)
	assert.Equal(t, "{}", string(sessions[0].Record))
	events, err := s.AllEvents(ctx, 0, 10)
	require.NoError(t, err)
	assert.Empty(t, events)
}

func TestIDsAreUniqueAmongLiveSessions(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir())
	create(t, s, "k1", "same")
	_, err := s.Create(ctx, Session{Key: "k2", ID: "same", Static: []byte{}, Record: []byte{}}, Update{})
	require.Error(t, err)
	require.NoError(t, s.MarkDeleted(ctx, "k1"))
	create(t, s, "k2", "same")
	_, err = s.Apply(ctx, Update{Session: "k1", Events: []Event{{Index: 1, Kind: "x", Data: []byte("{}")}}})
	require.NoError(t, err)
	require.NoError(t, s.Purge(ctx, "k1"))
	events, err := s.Events(ctx, "k1", 0, 10)
	require.NoError(t, err)
	assert.Empty(t, events, "purging takes everything along")
}

func TestAnIdempotencyKeyIsStoredOnce(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir())
	create(t, s, "k1", "one")
	_, err := s.Apply(ctx, Update{Session: "k1", Grants: []Grant{{Number: 1, Key: "k", Outcome: Pending}, {Number: 2, Outcome: Pending}, {Number: 3, Outcome: Pending}}})
	require.NoError(t, err)
	_, err = s.Apply(ctx, Update{Session: "k1", Grants: []Grant{{Number: 4, Key: "k", Outcome: Pending}}})
	require.Error(t, err)
}

func TestANewerDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(context.Background(), dir)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	db, err := sql.Open("sqlite", filepath.Join(dir, FileName))
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA user_version = 99")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = Open(context.Background(), dir)
	require.ErrorContains(t, err, "newer stepd")
}

func TestManyWritersAndReaders(t *testing.T) {
	ctx := context.Background()
	s := openTest(t, t.TempDir())
	var group sync.WaitGroup
	for w := range 8 {
		key := fmt.Sprint("k", w)
		create(t, s, key, key)
		group.Go(func() {
			for i := range 20 {
				_, err := s.Apply(ctx, Update{Session: key, Events: []Event{{Index: int64(i + 1), Kind: "step", Data: []byte("{}")}}})
				assert.NoError(t, err)
				_, err = s.Events(ctx, key, 0, 100)
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
	events, err := s.AllEvents(ctx, 0, 1000)
	require.NoError(t, err)
	assert.Len(t, events, 160)
}

func mkdir(dir string) error { return os.MkdirAll(dir, 0o755) }
