package run

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// shell writes an executable shell script.
func shell(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.sh")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
	return path
}

// byName sorts the reports of scripts by the script.
func (r *recorder) byName(name string) (reports []Script) {
	for _, s := range r.scripts {
		if s.Name == name {
			reports = append(reports, s)
		}
	}
	return reports
}

func TestAValidationScriptTakesThePlaceOfPictures(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling = job.Sampling{Every: 10, First: true}
	j.Save.Every = 5
	j.Scripts = &job.Scripts{Values: map[string]string{"tracker_run_name": "my run", "validation_seed": "7"}, Validation: &job.Script{
		Command: []string{shell(t, `pwd; echo "$@"`), "{global_step}", "{local_checkpoint_path}", "{remote_checkpoint_path}", "--run={tracker_run_name}", "{validation_seed}"}}}
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.NoError(t, r.sampleErr)
	assert.Empty(t, r.samples)
	require.Len(t, r.warnings, 1)
	assert.Contains(t, r.warnings[0], "not started at step 0: there is no checkpoint yet")
	require.Len(t, r.scripts, 2)
	for i, step := range []string{"10", "20"} {
		checkpoint := filepath.Join(j.RunDir(), "checkpoint-"+step)
		assert.Equal(t, []string{step, checkpoint, "", "--run=my run", "7"}, r.scripts[i].Argv[1:])
		assert.Equal(t, 0, r.scripts[i].ExitCode)
		assert.Empty(t, r.scripts[i].Problem)
		assert.Contains(t, r.scripts[i].Output, step+" "+checkpoint+"  --run=my run 7")
	}
	log := strings.Join(r.logs, "\n")
	assert.Contains(t, log, "[validation script] "+j.RunDir())
}

func TestAValidationScriptThatFailsIsAFailedSample(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling = job.Sampling{Every: 10}
	j.Save.Every = 10
	j.Scripts = &job.Scripts{Validation: &job.Script{Command: []string{shell(t, "echo broken; exit 4")}}}
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.ErrorContains(t, r.sampleErr, "exit status 4")
	require.Len(t, r.scripts, 2)
	assert.Equal(t, 4, r.scripts[0].ExitCode)
	assert.Equal(t, "broken", r.scripts[0].Output)
}

func TestScriptsAfterCheckpoints(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling, j.Save.Every = job.Sampling{}, 8
	j.Scripts = &job.Scripts{Checkpoint: &job.Script{Command: []string{shell(t, `test -f "$1/training_state.json"`), "{local_checkpoint_path}"}},
		Upload: &job.Script{Command: []string{shell(t, "exit 1"), "{global_step}", "{remote_checkpoint_path}"}}}
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome, "scripts beside the training cannot fail it")
	require.Len(t, r.byName("checkpoint"), 3)
	for _, s := range r.byName("checkpoint") {
		assert.Empty(t, s.Problem, s.Output)
	}
	require.Len(t, r.byName("upload"), 3)
	for _, s := range r.byName("upload") {
		assert.Equal(t, 1, s.ExitCode)
		assert.Empty(t, s.Argv[2])
	}
}

// A script in the background neither delays the training nor loses its checkpoint; it ends with the session.
func TestAScriptKeepsItsCheckpointAndEndsWithTheSession(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling = job.Sampling{Every: 2}
	j.Save.Every, j.Save.Keep = 2, 1
	started := filepath.Join(t.TempDir(), "started")
	require.NoError(t, syscall.Mkfifo(started, 0o600))
	pipe, err := os.OpenFile(started, os.O_RDWR, 0)
	require.NoError(t, err)
	defer pipe.Close()
	lines := bufio.NewScanner(pipe)
	j.Scripts = &job.Scripts{Validation: &job.Script{Background: true,
		Command: []string{shell(t, "echo \"$1\" > "+started+"; exec sleep 1000"), "{local_checkpoint_path}"}}}
	r, control := &recorder{}, NewControl()
	control.Allow(8)
	r.onPaused = func(int64) {
		for range atOnce { // waits until scripts are under way
			assert.True(t, lines.Scan())
		}
		control.Abort()
	}
	outcome, err := runJob(t, j, control, r)
	require.NoError(t, err)
	assert.Equal(t, Aborted, outcome)
	require.Len(t, r.scripts, atOnce)
	for _, s := range r.scripts {
		assert.Contains(t, s.Problem, "the run ended")
		assert.DirExists(t, s.Argv[1], "lent checkpoints stay")
	}
	assert.Empty(t, r.removed, "all four checkpoints were lent: two to scripts that run, two to scripts that wait")
}

// Scripts that are slower than the checkpoints come: of those that wait, the oldest are skipped, and let go of their
// checkpoints.
func TestWaitingScriptsAreBounded(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling, j.Save.Every, j.Save.Keep = job.Sampling{}, 1, 1
	gate := filepath.Join(t.TempDir(), "gate")
	require.NoError(t, syscall.Mkfifo(gate, 0o600))
	pipe, err := os.OpenFile(gate, os.O_RDWR, 0)
	require.NoError(t, err)
	defer pipe.Close()
	j.Scripts = &job.Scripts{Checkpoint: &job.Script{Command: []string{shell(t, "read line < "+gate), "{global_step}", "{local_checkpoint_path}"}}}
	r, control := &recorder{}, NewControl()
	control.Allow(19)
	r.onPaused = func(int64) {
		kept, err := filepath.Glob(filepath.Join(j.RunDir(), "checkpoint-*"))
		assert.NoError(t, err)
		assert.Len(t, kept, atOnce+mostWaiting, "those of the scripts, among which is the newest")
		assert.Len(t, r.byName("checkpoint"), 19-atOnce-mostWaiting)
		_, err = pipe.WriteString(strings.Repeat("go\n", 20))
		assert.NoError(t, err)
		control.Allow(20)
	}
	outcome, err := runJob(t, j, control, r)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	reports := r.byName("checkpoint")
	require.Len(t, reports, 20)
	for i, s := range reports[:19-atOnce-mostWaiting] {
		assert.Equal(t, int64(i+1+atOnce), s.Step, "the first scripts run, those behind them are skipped")
		assert.Contains(t, s.Problem, "skipped")
		assert.Equal(t, -1, s.ExitCode)
	}
	last := 0
	for _, s := range reports {
		if s.Problem == "" && s.Step == 20 {
			last++
		}
	}
	assert.Equal(t, 1, last, "the script of the last checkpoint ran")
	kept, err := filepath.Glob(filepath.Join(j.RunDir(), "checkpoint-*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(j.RunDir(), "checkpoint-20")}, kept, "those that the scripts kept go when these have ended")
}
