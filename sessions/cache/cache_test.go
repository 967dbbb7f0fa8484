package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openCache(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

func keyOf(t *testing.T, source string) Key {
	t.Helper()
	key, err := Recipe{Kind: "text", Source: source}.Key()
	require.NoError(t, err)
	return key
}

// safetensors is a file with one tensor of the given bytes.
func safetensors(content string) []byte {
	header := fmt.Sprintf(`{"x":{"dtype":"U8","shape":[%d],"data_offsets":[0,%[1]d]}}`, len(content))
	data := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(data, header...), content...)
}

func put(t *testing.T, c *Cache, key Key, content string) string {
	t.Helper()
	pending, err := c.Begin(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(pending.Path(), safetensors(content), 0o600))
	path, err := pending.Commit()
	require.NoError(t, err)
	return path
}

func lookup(t *testing.T, c *Cache, key Key) (string, bool) {
	t.Helper()
	path, ok, err := c.Lookup(key)
	require.NoError(t, err)
	return path, ok
}

func TestEntryIsFoundAfterCommit(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir)
	key := keyOf(t, "a")
	_, ok := lookup(t, c, key)
	assert.False(t, ok)

	path := put(t, c, key, "latents")
	assert.Equal(t, filepath.Join(dir, string(key[:2]), string(key), "data.safetensors"), path)
	for _, cache := range []*Cache{c, openCache(t, dir)} {
		found, ok := lookup(t, cache, key)
		assert.True(t, ok)
		assert.Equal(t, path, found)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, safetensors("latents"), data)
}

func TestDamagedEntriesAreMadeAgain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(folder string) error
	}{
		{"cut short", func(f string) error { return os.Truncate(filepath.Join(f, dataFile), 10) }},
		{"empty", func(f string) error { return os.Truncate(filepath.Join(f, dataFile), 0) }},
		{"one bit", func(f string) error {
			data := safetensors("latents")
			data[len(data)-1] ^= 1
			return os.WriteFile(filepath.Join(f, dataFile), data, 0o600)
		}},
		{"no file", func(f string) error { return os.Remove(filepath.Join(f, dataFile)) }},
		{"no checksum", func(f string) error { return os.Remove(filepath.Join(f, checksumFile)) }},
		{"broken checksum", func(f string) error { return os.WriteFile(filepath.Join(f, checksumFile), []byte("{"), 0o600) }},
		{"empty folder", func(f string) error { return errors.Join(os.RemoveAll(f), os.Mkdir(f, 0o700)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir())
			key := keyOf(t, "a")
			folder := filepath.Dir(put(t, c, key, "latents"))
			require.NoError(t, tt.damage(folder))
			_, ok := lookup(t, c, key)
			assert.False(t, ok)
			assert.NoDirExists(t, folder)
			put(t, c, key, "latents")
			_, ok = lookup(t, c, key)
			assert.True(t, ok)
		})
	}
}

func TestCommitReplacesADamagedEntry(t *testing.T) {
	c := openCache(t, t.TempDir())
	key := keyOf(t, "a")
	require.NoError(t, os.Truncate(put(t, c, key, "latents"), 3))
	put(t, c, key, "latents")
	_, ok := lookup(t, c, key)
	assert.True(t, ok)
}

func TestCommitRefusesUnfinishedFiles(t *testing.T) {
	whole := safetensors("latents")
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"missing", nil, "no such file"},
		{"empty", []byte{}, "no safetensors header"},
		{"cut in the data", whole[:len(whole)-1], "its header describes"},
		{"cut in the header", whole[:20], "cut short"},
		{"too long", append(safetensors("latents"), 0), "its header describes"},
		{"not JSON", binary.LittleEndian.AppendUint64(nil, 0), "broken safetensors header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openCache(t, t.TempDir())
			key := keyOf(t, "a")
			pending, err := c.Begin(key)
			require.NoError(t, err)
			if tt.data != nil {
				require.NoError(t, os.WriteFile(pending.Path(), tt.data, 0o600))
			}
			_, err = pending.Commit()
			assert.ErrorContains(t, err, tt.want)
			assert.NoDirExists(t, filepath.Dir(pending.Path()))
			_, ok := lookup(t, c, key)
			assert.False(t, ok)
		})
	}
}

func TestFirstOfTwoCommitsWins(t *testing.T) {
	dir := t.TempDir()
	key := keyOf(t, "a")
	put(t, openCache(t, dir), key, "first")
	path := put(t, openCache(t, dir), key, "second")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, safetensors("first"), data)
}

func TestDiscardLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir)
	pending, err := c.Begin(keyOf(t, "a"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(pending.Path(), safetensors("x"), 0o600))
	require.NoError(t, pending.Discard())
	require.NoError(t, c.Close())
	left, err := os.ReadDir(filepath.Join(dir, tempFolder))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// Many goroutines of several caches make, damage and read the same entries.
func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	keys := []Key{keyOf(t, "a"), keyOf(t, "b")}
	var group sync.WaitGroup
	for worker := range 4 {
		c := openCache(t, dir)
		group.Go(func() {
			for i := range 25 {
				key := keys[(worker+i)%len(keys)]
				if _, ok, err := c.Lookup(key); !assert.NoError(t, err) || ok {
					_ = os.WriteFile(filepath.Join(c.entry(key), checksumFile), []byte("{}"), 0o600) // damage
					continue
				}
				pending, err := c.Begin(key)
				if !assert.NoError(t, err) || !assert.NoError(t, os.WriteFile(pending.Path(), safetensors("same"), 0o600)) {
					return
				}
				_, err = pending.Commit()
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
	c := openCache(t, dir)
	for _, key := range keys {
		if _, ok := lookup(t, c, key); !ok {
			put(t, c, key, "same")
		}
		path, ok := lookup(t, c, key)
		require.True(t, ok)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, safetensors("same"), data)
	}
}

// TestSweep lets a process die with an unfinished entry; the next Open removes
// it, but not those of living processes.
func TestSweep(t *testing.T) {
	const variable = "STEPD_CACHE_TEST_DIR"
	if dir := os.Getenv(variable); dir != "" { // in the child
		c, err := Open(dir)
		require.NoError(t, err)
		_, err = c.Begin(keyOf(t, "a"))
		require.NoError(t, err)
		os.Exit(0)
	}
	dir := t.TempDir()
	living := openCache(t, dir)
	pending, err := living.Begin(keyOf(t, "b"))
	require.NoError(t, err)

	child := exec.Command(os.Args[0], "-test.run=^TestSweep$")
	child.Env = append(os.Environ(), variable+"="+dir)
	output, err := child.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.NoError(t, os.Mkdir(filepath.Join(dir, tempFolder, "no-lock"), 0o700))

	count := func() int {
		folders, err := os.ReadDir(filepath.Join(dir, tempFolder))
		require.NoError(t, err)
		return len(folders)
	}
	assert.Equal(t, 3, count())
	openCache(t, dir)
	assert.Equal(t, 2, count(), "the living cache and the new one")
	require.NoError(t, os.WriteFile(pending.Path(), safetensors("x"), 0o600))
	_, err = pending.Commit()
	assert.NoError(t, err)
}

func TestKeysDependOnEverything(t *testing.T) {
	type settings struct{ Width, Height int }
	base := Recipe{Kind: "latents", Component: "c", Settings: settings{64, 32}, Source: "s"}
	first, err := base.Key()
	require.NoError(t, err)
	require.NoError(t, first.check())
	again, err := base.Key()
	require.NoError(t, err)
	assert.Equal(t, first, again)
	for _, change := range []func(*Recipe){
		func(r *Recipe) { r.Kind = "text" },
		func(r *Recipe) { r.Component = "d" },
		func(r *Recipe) { r.Settings = settings{32, 64} },
		func(r *Recipe) { r.Source = "t" },
	} {
		other := base
		change(&other)
		key, err := other.Key()
		require.NoError(t, err)
		assert.NotEqual(t, first, key)
	}
	_, err = Recipe{Settings: func() {}}.Key()
	assert.ErrorContains(t, err, "settings")
}

func TestBadKeys(t *testing.T) {
	c := openCache(t, t.TempDir())
	for _, key := range []Key{"", "ab", "../../etc", Key(strings.Repeat("g", 64))} {
		_, _, err := c.Lookup(key)
		assert.ErrorContains(t, err, "is not a cache key")
		_, err = c.Begin(key)
		assert.ErrorContains(t, err, "is not a cache key")
	}
}

func TestComponentHash(t *testing.T) {
	c := openCache(t, t.TempDir())
	folder := filepath.Join(t.TempDir(), "vae")
	file := filepath.Join(folder, "config.json")
	write := func(text string, modified time.Time) {
		require.NoError(t, os.MkdirAll(folder, 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(file, modified, modified))
	}
	hash := func() string {
		sum, err := c.ComponentHash(folder)
		require.NoError(t, err)
		return sum
	}
	old := time.Now().Add(-time.Hour)
	write("one", old)
	first := hash()
	assert.Equal(t, first, hash())
	memos, err := os.ReadDir(filepath.Join(c.dir, hashFolder))
	require.NoError(t, err)
	assert.Len(t, memos, 1)

	write("two", old.Add(time.Second))
	second := hash()
	assert.NotEqual(t, first, second)
	write("one", time.Now()) // too young to be remembered
	assert.Equal(t, first, hash())
	write("six", time.Now())
	assert.NotEqual(t, first, hash())

	require.NoError(t, os.WriteFile(filepath.Join(folder, ".hidden"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(folder, "sub"), 0o700))
	write("one", old)
	assert.NotEqual(t, first, hash(), "a folder counts")
	_, err = c.ComponentHash(filepath.Join(folder, "none"))
	assert.ErrorContains(t, err, "hash model component")
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := Open(file)
	assert.ErrorContains(t, err, "open cache")
}
