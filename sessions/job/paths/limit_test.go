package paths

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tree has the folders in (allowed), out and linked (a link to in), files in both, and links between them.
func tree(t *testing.T) (dir string, limit *Limit) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range []string{"in/sub", "out", "in-other"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	for _, name := range []string{"in/file", "out/file", "in-other/file"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	for name, target := range map[string]string{"linked": "in", "in/leads-out": "../out", "in/absolute": filepath.Join(dir, "in", "sub"),
		"in/nowhere": "../none", "in/circle": "circle", "out/leads-in": "../in"} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	limit, err := New([]string{filepath.Join(dir, "linked")})
	require.NoError(t, err)
	return dir, limit
}

func TestCheck(t *testing.T) {
	dir, limit := tree(t)
	tests := map[string]bool{
		"in": true, "in/file": true, "in/none/below": true, "linked/file": true, "in/absolute": true, "in/absolute/new": true, "out/leads-in/file": true,
		"in/sub/../file": true, "in/../in/file": true,
		"out/file": false, "out": false, "in-other/file": false, "in/../out/file": false, "in/leads-out": false, "in/leads-out/file": false,
		"in/leads-out/new": false, "in/nowhere": false, "in/nowhere/new": false, "in/circle": false, "in/a\x00b": false, ".": false, "none": false,
	}
	for path, want := range tests {
		path = dir + "/" + path
		err := limit.Check(path)
		assert.Equal(t, want, err == nil, "%q: %v", path, err)
		if err != nil {
			assert.ErrorContains(t, err, "--root")
		}
		assert.NoError(t, (*Limit)(nil).Check(path), "without roots, everything is allowed")
	}
	assert.Error(t, limit.Check("/etc/passwd"))
	assert.Error(t, limit.Check("relative"), "a relative path starts at the working directory")
}

func TestOpen(t *testing.T) {
	dir, limit := tree(t)
	for path, want := range map[string]string{"in/file": "in/file", "linked/file": "in/file", "out/leads-in/file": "in/file", "out/file": "",
		"in/leads-out/file": "", "in/none": ""} {
		file, err := limit.Open(filepath.Join(dir, path))
		_, statErr := limit.Stat(filepath.Join(dir, path))
		assert.Equal(t, err == nil, statErr == nil, path)
		if want == "" {
			assert.Error(t, err, path)
			continue
		}
		require.NoError(t, err, path)
		data, err := io.ReadAll(file)
		require.NoError(t, err)
		assert.Equal(t, want, string(data))
		require.NoError(t, file.Close())
	}
	file, err := (*Limit)(nil).Open(filepath.Join(dir, "out/file"))
	require.NoError(t, err)
	require.NoError(t, file.Close())
	_, err = (*Limit)(nil).Stat(filepath.Join(dir, "out/file"))
	assert.NoError(t, err)
}

func TestNew(t *testing.T) {
	dir, limit := tree(t)
	again, err := New(limit.Folders())
	require.NoError(t, err)
	assert.Equal(t, limit, again)
	none, err := New(nil)
	assert.NoError(t, err)
	assert.Nil(t, none)
	assert.Empty(t, none.Folders())
	for _, path := range []string{"none", "in/file", "in/nowhere"} {
		_, err := New([]string{filepath.Join(dir, path)})
		assert.Error(t, err, path)
	}
}
