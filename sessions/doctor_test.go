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
	"github.com/stepd/stepd/sessions/job"
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
		}, "not in the index", "s", 8},
		{"broken index", func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "data", store.FileName), []byte("this is no database, whatever it is"), 0o644))
		}, "not a database", "s", 8},
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

// Jobs may put their run folders into folders of folders, whose names may be anything.
func TestDoctorFindsRunFoldersAtAnyDepth(t *testing.T) {
	dir := t.TempDir()
	trainAndClose(t, dir)
	outputs := filepath.Join(dir, "all [1]")
	run := filepath.Join(outputs, "output", "deep", "run")
	require.NoError(t, os.MkdirAll(filepath.Dir(run), 0o755))
	require.NoError(t, os.Symlink(outputs, filepath.Join(outputs, "output", "circle")))
	require.NoError(t, os.Rename(filepath.Join(dir, "output", "run"), run))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
	findings, err := Doctor(testContext(t), DoctorOptions{DataDir: filepath.Join(dir, "data"), Outputs: []string{outputs}, Repair: true})
	require.NoError(t, err)
	require.Len(t, findings, 1)
	assert.Equal(t, run, findings[0].Path)

	_, err = Doctor(testContext(t), DoctorOptions{DataDir: filepath.Join(dir, "data"), Outputs: []string{filepath.Join(dir, "misspelt")}})
	require.ErrorContains(t, err, "look for run folders: open "+filepath.Join(dir, "misspelt"))
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

// TestARebuiltIndexKnowsWhatTheOldOneDid loses the index of a session in each of its states.
func TestARebuiltIndexKnowsWhatTheOldOneDid(t *testing.T) {
	labels := map[string]string{"dialect": "simpletuner", "webhooks": `[{"secret":"s3cr3t"}]`}
	tests := []struct {
		name  string
		queue string
		end   func(t *testing.T, s *Session)
		state State // after the repair and a start of the server
	}{
		{"interrupted", "", func(*testing.T, *Session) {}, Interrupted},
		{"interrupted in a queue", "training", func(*testing.T, *Session) {}, Completed}, // it goes on by itself
		{"aborted", "training", func(t *testing.T, s *Session) { require.NoError(t, s.Abort(testContext(t))) }, Aborted},
		{"cancelled", "training", func(t *testing.T, s *Session) { require.NoError(t, s.Cancel(testContext(t))) }, Aborted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, dir, Options{})
			j := fixture.Job(t, dir)
			j.Save.Every, j.Resume = 4, job.ResumeNone
			gate := fixture.NewGate(t, j)
			gate.Open(8)
			s := create(t, m, CreateRequest{ID: "the id", Job: j, Grant: 20, Labels: labels, Queue: test.queue})
			_, err := s.Wait(testContext(t), func(now Snapshot) bool { return now.LastCheckpointStep() == 8 })
			require.NoError(t, err)
			test.end(t, s)
			if test.state == Aborted {
				waitState(t, s, Aborted)
			}
			before := s.Snapshot()
			require.NoError(t, m.Close(testContext(t)))
			require.NoError(t, os.Remove(filepath.Join(dir, "data", store.FileName)))

			kept, err := os.Stat(filepath.Join(j.RunDir(), originFile))
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), kept.Mode(), "labels may hold secrets")
			_, err = Doctor(testContext(t), DoctorOptions{DataDir: filepath.Join(dir, "data"), Outputs: []string{filepath.Join(dir, "output")}, Repair: true})
			require.NoError(t, err)
			gate.Open(20)
			m = open(t, dir, Options{})
			again, err := m.Session("the id")
			require.NoError(t, err)
			now := waitState(t, again, test.state)
			assert.Equal(t, labels, again.Labels())
			assert.Equal(t, test.queue, again.queue)
			assert.Equal(t, s.Key(), again.Key(), "its log is the same")
			assert.Equal(t, before.Created, now.Created)
			assert.Equal(t, test.name == "cancelled", now.Cancelled)
			if test.state == Interrupted {
				_, result := grant(t, again, 2) // although the job says that it starts from the beginning
				assert.True(t, result.Consumed)
			}
			checkEvents(t, again)
		})
	}
}

// An abort may come while the worker is being started, whose start is told in the same file.
func TestTheRunFolderTellsAnAbortAsSoonAsItIsDurable(t *testing.T) {
	for range 8 {
		dir := t.TempDir()
		j := fixture.Job(t, dir)
		s := create(t, open(t, dir, Options{}), CreateRequest{ID: "s", Job: j, Grant: 2})
		require.NoError(t, s.Abort(testContext(t)))
		for range 2 {
			kept, err := readOrigin(j.RunDir())
			require.NoError(t, err)
			assert.Contains(t, []State{Aborting, Aborted}, kept.End)
			waitState(t, s, Aborted)
		}
	}
}

func TestADeletedSessionDoesNotComeBackWithTheIndex(t *testing.T) {
	dir := t.TempDir()
	trainAndClose(t, dir)
	kept := filepath.Join(dir, "output", "run", originFile)
	require.FileExists(t, kept)
	m := open(t, dir, Options{})
	s, err := m.Session("s")
	require.NoError(t, err)
	require.NoError(t, m.store.MarkDeleted(testContext(t), s.Key())) // and then the server is killed
	require.NoError(t, m.Close(testContext(t)))
	m = open(t, dir, Options{})
	assert.NoFileExists(t, kept)

	again := create(t, m, CreateRequest{ID: "again", Job: fixture.Job(t, dir), Grant: 2})
	waitState(t, again, Paused)
	require.FileExists(t, kept)
	require.NoError(t, m.Delete(testContext(t), "again"))
	assert.NoFileExists(t, kept)
}

func TestACancellationSurvivesTheServer(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, Options{})
	for _, id := range []string{"stopped", "cancelled"} {
		j := fixture.Job(t, filepath.Join(dir, id))
		fixture.NewGate(t, j)
		s := create(t, m, CreateRequest{ID: id, Job: j, Grant: 20})
		waitState(t, s, Running)
		if id == "cancelled" {
			require.NoError(t, s.Cancel(testContext(t)))
		}
		require.NoError(t, s.Abort(testContext(t)))
		waitState(t, s, Aborted)
	}
	require.NoError(t, m.Close(testContext(t)))
	m = open(t, dir, Options{})
	for _, s := range m.Sessions() {
		assert.Equal(t, s.ID() == "cancelled", s.Snapshot().Cancelled)
	}
}

func TestDoctorAddsARunFolderWhoseSessionCannotBeRead(t *testing.T) {
	for name, content := range map[string]string{"no JSON": "no JSON", "a path for a key": `{"id": "s", "key": "../../../../../../../etc/passwd"}`} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			trainAndClose(t, dir)
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "data")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "output", "run", originFile), []byte(content), 0o600))
			findings, err := Doctor(testContext(t), DoctorOptions{DataDir: filepath.Join(dir, "data"), Outputs: []string{filepath.Join(dir, "output")}, Repair: true})
			require.NoError(t, err)
			assert.Contains(t, findings[0].Problem, originFile)
			_, err = open(t, dir, Options{}).Session("run")
			assert.NoError(t, err)
		})
	}
}
