package checkpoint

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func stepsOf(t *testing.T, folder *Folder) (steps []int64) {
	t.Helper()
	infos, err := folder.List()
	require.NoError(t, err)
	for _, info := range infos {
		steps = append(steps, info.Manifest.Step)
	}
	return steps
}

func TestRollingCheckpointsHaveNamesOfTheirOwn(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	normal, err := save(folder, 10, "interval")
	require.NoError(t, err)
	rolling, err := save(folder, 20, ReasonRolling)
	require.NoError(t, err)
	assert.False(t, normal.Rolling)
	assert.True(t, rolling.Rolling)
	assert.Equal(t, filepath.Join(folder.Dir(), "checkpoint-20-rolling"), rolling.Path)
	latest, err := folder.Latest(-1, noBad(t))
	require.NoError(t, err)
	assert.Equal(t, rolling.Path, latest.Path)

	_, err = save(folder, 20, "interval")
	require.NoError(t, err)
	assert.NoDirExists(t, rolling.Path, "one checkpoint of a step")
	assert.Equal(t, []int64{10, 20}, stepsOf(t, folder))
}

func TestParseName(t *testing.T) {
	for name, want := range map[string]int64{"checkpoint-0": 0, "checkpoint-250": 250, "checkpoint-250-rolling": 250, "checkpoint-007": -1,
		"checkpoint--1": -1, "checkpoint-1-rolling-rolling": -1, "checkpoint-": -1, "checkpoint-5-tmp": -1, "other-5": -1} {
		step, ok := ParseName(name)
		assert.Equal(t, want >= 0, ok, name)
		if ok {
			assert.Equal(t, want, step, name)
		}
	}
}

func TestRetagKeepsTheFilesAndPublishes(t *testing.T) {
	for _, reason := range []string{"interval", ReasonRolling} {
		folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
		require.NoError(t, err)
		before, err := save(folder, 10, reason)
		require.NoError(t, err)
		tagged, err := folder.Retag(before, Occasion{Reason: "final", Budget: 10, Published: append(before.Manifest.Published, "run.safetensors")})
		require.NoError(t, err)
		assert.Equal(t, filepath.Join(folder.Dir(), "checkpoint-10"), tagged.Path)
		assert.FileExists(t, filepath.Join(folder.Dir(), "run.safetensors"))
		m, err := Verify(tagged.Path)
		require.NoError(t, err)
		assert.Equal(t, "final", m.Reason)
		assert.Equal(t, int64(10), m.Budget)
		assert.Equal(t, before.Manifest.Files, m.Files)
		left, err := filepath.Glob(filepath.Join(folder.Dir(), tmpPrefix+"*"))
		require.NoError(t, err)
		assert.Empty(t, left, "a name that was there already left another one behind")
	}
}

// Whatever file operation fails, the checkpoint stays usable under one of its names.
func TestARetagThatFailsLeavesAWholeCheckpoint(t *testing.T) {
	for n := 1; ; n++ {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("run-", n))
		folder, err := Open(dir, OS{})
		require.NoError(t, err)
		before, err := save(folder, 10, ReasonRolling)
		require.NoError(t, err)
		faulty := &failing{n: n}
		_, err = (&Folder{dir: dir, fsys: faulty}).Retag(before, Occasion{Reason: "final", Published: []string{"run.safetensors"}})
		if err == nil {
			require.Greater(t, n, 5, "the sweep reached every operation")
			return
		}
		latest, err := folder.Latest(-1, noBad(t))
		require.NoError(t, err)
		require.NotNil(t, latest)
		assert.Equal(t, int64(10), latest.Manifest.Step)
	}
}
