package sessions

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/store"
)

// trainAndClose leaves a data folder with a session "s" that is interrupted at step 8 and has checkpoints of 4 and 8.
func trainAndClose(t *testing.T, dir string) {
	t.Helper()
	m := open(t, dir, Options{})
	j := fixture.Job(t, dir)
	j.Save.Every = 4
	s := create(t, m, CreateRequest{ID: "s", Job: j, Grant: 8})
	waitState(t, s, Paused)
	require.NoError(t, m.Close(testContext(t)))
}

func TestDoctor(t *testing.T) {
	tests := []struct {
		name    string
		damage  func(t *testing.T, dir string)
		problem string // "" for none
		session string // id after the repair
		step    int64
	}{
		{"healthy", func(*testing.T, string) {}, "", "s", 8},
		{"lost index", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
		}, "not in the index", "run", 8},
		{"broken index", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "data", store.FileName), []byte("this is no database, whatever it is"), 0o644))
		}, "not a database", "run", 8},
		{"broken checkpoint", func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "output", "run", "checkpoint-8", "state", "state.json"), 0))
		}, "state.json", "s", 4},
		{"session that cannot be read", func(t *testing.T, dir string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "data", store.FileName))
			require.NoError(t, err)
			_, err = db.Exec("UPDATE sessions SET static = 'no JSON'")
			require.NoError(t, errors.Join(err, db.Close()))
		}, "read stored session", "s", 8},
		{"removed checkpoint", func(t *testing.T, dir string) {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "output", "run", "checkpoint-8")))
		}, "step 8 that is not there", "s", 4},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			trainAndClose(t, dir)
			test.damage(t, dir)
			options := DoctorOptions{DataDir: filepath.Join(dir, "data"), Outputs: []string{filepath.Join(dir, "output")}}
			for _, options.Repair = range []bool{false, true} {
				findings, err := Doctor(testContext(t), options)
				require.NoError(t, err)
				if test.problem == "" {
					assert.Empty(t, findings)
				} else {
					require.NotEmpty(t, findings)
					assert.Contains(t, findings[0].Problem, test.problem)
				}
			}
			options.Repair = false
			findings, err := Doctor(testContext(t), options)
			require.NoError(t, err)
			assert.Empty(t, findings, "nothing is left to repair")

			m := open(t, dir, Options{})
			s, err := m.Session(test.session)
			require.NoError(t, err)
			assert.Equal(t, Interrupted, s.Snapshot().State)
			_, result := grant(t, s, 2)
			assert.True(t, result.Consumed)
			assert.Equal(t, test.step+2, result.Snapshot.Completed)
			checkEvents(t, s)
		})
	}
}

func TestDoctorStaysAwayFromARunningServer(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, Options{})
	ctx := testContext(t)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err := Doctor(cancelled, DoctorOptions{DataDir: filepath.Join(dir, "data")})
	require.ErrorContains(t, err, "in use by another server; end that one")
	require.NotContains(t, err.Error(), "context", "the reason is for people")
}

func TestABrokenIndexPointsToTheDoctor(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, store.FileName), []byte("this is no database, whatever it is"), 0o644))
	_, err := Open(testContext(t), Options{DataDir: dir, Launcher: localWorker(t)})
	require.ErrorContains(t, err, "stepd doctor")
}
