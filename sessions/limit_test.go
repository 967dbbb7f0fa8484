package sessions

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/paths"
)

func TestJobsStayWithinTheLimit(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	limit, err := paths.New([]string{dir})
	require.NoError(t, err)
	m := open(t, dir, Options{Limit: limit})
	j := fixture.Job(t, outside)
	_, err = m.Create(testContext(t), CreateRequest{ID: "outside", Job: j})
	var invalid *job.Invalid
	require.ErrorAs(t, err, &invalid)
	var fields []string
	for _, p := range invalid.Problems {
		fields = append(fields, p.Field)
	}
	assert.Equal(t, []string{"output", "engine.model", "datasets[0].folder"}, fields)
	assert.NoDirExists(t, j.RunDir())

	waitState(t, create(t, m, wholeBudget("inside", fixture.Job(t, dir))), Completed)
}

// A session that was created without the limit, or whose folder has become a link since, is refused by its worker.
func TestALimitHoldsForOldSessions(t *testing.T) {
	dir := t.TempDir()
	trainAndClose(t, dir)
	limit, err := paths.New([]string{dir})
	require.NoError(t, err)
	elsewhere := filepath.Join(t.TempDir(), "pictures")
	require.NoError(t, os.Rename(filepath.Join(dir, "pictures"), elsewhere))
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(dir, "pictures")))
	m := open(t, dir, Options{Limit: limit})
	s, err := m.Session("s")
	require.NoError(t, err)
	_, err = s.Grant(testContext(t), GrantRequest{Steps: 1})
	require.NoError(t, err)
	failed := waitState(t, s, Failed)
	assert.Contains(t, failed.Error, "datasets[0].folder")
	assert.Contains(t, failed.Error, "--root")
	assert.Equal(t, "invalid", failed.ErrorCode)
}
