package sessions

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/store"
	"github.com/stepd/stepd/sessions/worker"
)

// cut is what a power cut left of run folders and index.
type cut struct {
	operation string
	image     fixture.Image
	index     string // file
}

// recordCuts trains a job and returns what a power cut after each operation on its run folder would leave. SQLite is
// trusted with its own file: with a write-ahead log and synchronous=FULL, the index is as the last commit left it.
func recordCuts(t *testing.T, dir string, train func(launcher worker.Launcher)) (cuts []cut) {
	t.Helper()
	indexes, seen := t.TempDir(), map[string]bool{}
	disk := &fixture.Disk{Root: filepath.Join(dir, "output")}
	index, last := "", ""
	disk.Cut = func(operation string, image fixture.Image) {
		if operation != last { // all images of one operation have one index
			last, index = operation, filepath.Join(indexes, fmt.Sprint(len(cuts)))
			copyIndex(t, filepath.Join(dir, "data", store.FileName), index)
		}
		if key := index + image.Key(); !seen[key] {
			seen[key] = true
			cuts = append(cuts, cut{operation, image, index})
		}
	}
	train(worker.Local{Engine: &fake.Engine{}, FS: disk})
	return cuts
}

func copyIndex(t *testing.T, from, to string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+from+"?mode=ro&_pragma=busy_timeout(5000)")
	require.NoError(t, err)
	_, err = db.Exec("VACUUM INTO ?", to)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// restore puts the folders back as a power cut left them.
func (c cut) restore(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "output")))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "output"), 0o755))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o755))
	require.NoError(t, c.image.Restore(filepath.Join(dir, "output")))
	data, err := os.ReadFile(c.index)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", store.FileName), data, 0o600))
}

// TestNoPowerCutLosesWhatWasTold cuts the power after every operation on a run folder and opens what is left: every
// checkpoint that an event told of is whole, or gone because a newer one is, events have no gap, and the session knows
// where it is. From some of the images it goes on to its end, which is that of a run that nothing disturbed.
func TestNoPowerCutLosesWhatWasTold(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	j := faultyJob(t, dir, "run")
	j.Steps = 3
	var want map[string]checkpoint.File
	cuts := recordCuts(t, dir, func(launcher worker.Launcher) {
		m := open(t, dir, Options{CacheDir: cache, Launcher: launcher})
		s := create(t, m, CreateRequest{ID: "s", Job: j, Grant: 3})
		waitState(t, s, Completed)
		want = fixture.FinalState(t, j)
		require.NoError(t, m.Close(testContext(t)))
	})
	require.Greater(t, len(cuts), 100)
	for i, c := range cuts {
		c.restore(t, dir)
		m := open(t, dir, Options{CacheDir: cache})
		s, err := m.Session("s")
		require.NoError(t, err)
		now := waitState(t, s, Interrupted, Completed)
		checkTold(t, s, c.operation)
		if i%10 == 0 && now.State == Interrupted {
			_, err := s.Grant(testContext(t), GrantRequest{Steps: 3})
			require.NoError(t, err)
			waitState(t, s, Completed)
			require.Equal(t, want, fixture.FinalState(t, j), c.operation)
		}
		require.NoError(t, m.Close(testContext(t)))
	}
}

// checkTold compares the events of a session with its run folder.
func checkTold(t *testing.T, s *Session, operation string) {
	t.Helper()
	events := checkEvents(t, s)
	checkSteps(t, events)
	told := map[int64]bool{}
	for _, e := range events {
		switch e.Kind {
		case KindCheckpoint:
			told[decode[Checkpoint](t, e).Step] = true
		case KindCheckpointRemoved:
			delete(told, decode[CheckpointRemovedEvent](t, e).Step)
		}
	}
	newest := int64(0)
	for step := range told {
		newest = max(newest, step)
	}
	for step := range told {
		path := filepath.Join(s.Job().RunDir(), fmt.Sprint("checkpoint-", step))
		if _, err := os.Stat(path); err != nil && step < newest {
			continue // on its way out, for one checkpoint is kept
		}
		_, err := checkpoint.Verify(path)
		assert.NoError(t, err, "after %s", operation)
	}
	assert.Equal(t, newest, s.Snapshot().Completed, "after %s", operation)
}
