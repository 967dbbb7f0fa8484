package checkpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestEveryDamageIsFound damages each file of a checkpoint at each byte, the manifest included: no bit may be wrong.
func TestEveryDamageIsFound(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	_, err = save(folder, 10, "budget")
	require.NoError(t, err)
	info, err := save(folder, 20, "budget")
	require.NoError(t, err)
	damaged := 0
	refused := func(path string, data []byte, what string, at int) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, data, 0o644))
		_, err := Verify(info.Path)
		require.Error(t, err, "%s of %s at %d", what, path, at)
		damaged++
	}
	require.NoError(t, filepath.WalkDir(info.Path, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		for at := range whole {
			flipped := append([]byte(nil), whole...)
			flipped[at] ^= 1 << (at % 8)
			refused(path, flipped, "flipped bit", at)
			refused(path, whole[:at], "torn end", at)
		}
		refused(path, append(whole[:len(whole):len(whole)], 0), "a byte more", len(whole))
		refused(path, make([]byte, len(whole)), "zeros", 0)
		require.NoError(t, os.WriteFile(path, whole, 0o644))
		_, err = Verify(info.Path)
		return err
	}))
	assert.Greater(t, damaged, 1000)
}

// TestSwappedFilesAreFound puts files of an older checkpoint into a newer one: each is whole, but of another step.
func TestSwappedFilesAreFound(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	older, err := save(folder, 10, "budget")
	require.NoError(t, err)
	newer, err := save(folder, 20, "budget")
	require.NoError(t, err)
	for _, name := range []string{"weights.safetensors", "state/optimizer.bin", ManifestName} {
		path := filepath.Join(newer.Path, name)
		mine, err := os.ReadFile(path)
		require.NoError(t, err)
		theirs, err := os.ReadFile(filepath.Join(older.Path, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, theirs, 0o644))
		_, err = Verify(newer.Path)
		assert.Error(t, err, name)
		require.NoError(t, os.WriteFile(path, mine, 0o644))
		_, err = Verify(newer.Path)
		require.NoError(t, err)
	}
}
