package run

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

// sweptJob saves three times, keeps two checkpoints and publishes weights.
func sweptJob(t *testing.T, dir string) *job.Job {
	t.Helper()
	j := fixture.Job(t, dir)
	j.Steps, j.Save.Every, j.Save.Keep = 3, 1, 2
	j.Sampling = job.Sampling{}
	return j
}

// TestEveryFailingFileOperation fails the n-th operation on the run folder, once and from then on, for every n until a run
// needs no more operations. Whatever is visible after it must verify, what was reported must be there, and the next run
// must end with the same state.
func TestEveryFailingFileOperation(t *testing.T) {
	dir := t.TempDir()
	whole := sweptJob(t, dir)
	run := func(j *job.Job, faults *fixture.Nth, r *recorder) (Outcome, error) {
		control := NewControl()
		control.Allow(j.Steps)
		return Run(context.Background(), Request{Job: j, CacheDir: filepath.Join(dir, "cache"),
			FS: fixture.FS{Before: func(string, string) error { return faults.Next() }}}, &fake.Engine{}, control, r)
	}
	_, err := run(whole, &fixture.Nth{}, &recorder{})
	require.NoError(t, err)
	want := fixture.FinalState(t, whole)
	for _, forever := range []bool{false, true} {
		n := 1
		for ; ; n++ {
			j := *whole
			j.Name = fmt.Sprint("run-", n, "-", forever)
			faults, r := &fixture.Nth{N: n, Forever: forever}, &recorder{}
			_, err := run(&j, faults, r)
			if !faults.Failed() {
				require.NoError(t, err)
				break
			}
			checkVisible(t, &j, r)
			outcome, err := run(&j, &fixture.Nth{}, &recorder{})
			require.NoError(t, err, "operation %d", n)
			assert.Equal(t, Completed, outcome)
			require.Equal(t, want, fixture.FinalState(t, &j), "operation %d", n)
		}
		assert.Greater(t, n, 30)
	}
}

// checkVisible verifies every checkpoint that can be seen, and looks for those that were reported and not removed.
func checkVisible(t *testing.T, j *job.Job, r *recorder) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(j.RunDir(), "checkpoint-*"))
	require.NoError(t, err)
	visible := map[int64]bool{}
	for _, path := range paths {
		m, err := checkpoint.Verify(path)
		require.NoError(t, err)
		visible[m.Step] = true
	}
	for _, step := range r.removed {
		visible[step] = true
	}
	steps, _ := r.saved()
	newest := int64(0)
	for _, step := range steps {
		newest = max(newest, step)
	}
	for _, step := range steps {
		assert.True(t, visible[step] || newest-step >= int64(j.Save.Keep), "checkpoint %d was reported and is gone", step)
	}
}
