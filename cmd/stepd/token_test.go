package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestToken(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(data, "token")
	mode := func() fs.FileMode {
		info, err := os.Stat(path)
		require.NoError(t, err)
		return info.Mode().Perm()
	}

	made, err := readToken(data)
	require.NoError(t, err)
	assert.Regexp(t, "^[0-9a-f]{64}$", made)
	assert.Equal(t, fs.FileMode(0o600), mode())

	require.NoError(t, os.Chmod(path, 0o644))
	again, err := readToken(data)
	require.NoError(t, err)
	assert.Equal(t, made, again, "kept over restarts")
	assert.Equal(t, fs.FileMode(0o600), mode(), "closed to other users")

	other, err := readToken(t.TempDir())
	require.NoError(t, err)
	assert.NotEqual(t, made, other)

	_, err = readToken(path)
	require.ErrorContains(t, err, "--data", "a data folder that is none")

	require.NoError(t, os.WriteFile(path, []byte("secret\n"), 0o600))
	_, err = readToken(data)
	assert.ErrorContains(t, err, path, "too easy to guess")

	require.NoError(t, os.WriteFile(path, []byte("\n"), 0o600))
	made, err = readToken(data)
	require.NoError(t, err)
	assert.Regexp(t, "^[0-9a-f]{64}$", made, "nothing is written down")
}
