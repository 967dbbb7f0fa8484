package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errInjected = errors.New("injected")

// useCache does everything that a cache can do, on a folder that holds a damaged entry, and ends at the first error.
func useCache(d disk, dir string, keys [2]Key) error {
	c, err := openOn(d, dir)
	if err != nil {
		return err
	}
	return errors.Join(fillCache(c, dir, keys), c.Close())
}

func fillCache(c *Cache, dir string, keys [2]Key) error {
	for _, key := range keys {
		if _, ok, err := c.Lookup(key); err != nil || ok {
			return errors.Join(err, errors.New("neither entry can be used before"))
		}
		pending, err := c.Begin(key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(pending.Path(), safetensors(string(key)), 0o600); err != nil {
			return err
		}
		if _, err := pending.Commit(); err != nil {
			return err
		}
	}
	_, err := c.ComponentHash(filepath.Join(dir, "component"))
	return err
}

// TestEveryFailingOperation fails the n-th operation, once and from then on, for every n until all succeed. Whatever can be
// looked up then must be whole, and the next process must find a cache that works, and nothing unfinished.
func TestEveryFailingOperation(t *testing.T) {
	keys := [2]Key{keyOf(t, "one"), keyOf(t, "two")}
	for _, forever := range []bool{false, true} {
		n := 1
		for ; ; n++ {
			dir := t.TempDir()
			damaged := put(t, openCache(t, dir), keys[0], "damaged")
			require.NoError(t, os.Truncate(damaged, 9))
			file := filepath.Join(dir, "component", "weights")
			require.NoError(t, os.Mkdir(filepath.Dir(file), 0o755))
			require.NoError(t, os.WriteFile(file, []byte("x"), 0o644))
			require.NoError(t, os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)), "old enough for its hash to be kept")
			calls := 0
			err := useCache(disk{fault: func(string) error {
				calls++
				if calls == n || forever && calls > n {
					return errInjected
				}
				return nil
			}}, dir, keys)
			if calls < n {
				require.NoError(t, err)
				break
			}
			require.ErrorIs(t, err, errInjected, "operation %d", n)

			c := openCache(t, dir)
			for _, key := range keys {
				if path, ok := lookup(t, c, key); ok {
					data, err := os.ReadFile(path)
					require.NoError(t, err)
					require.Equal(t, safetensors(string(key)), data)
				} else {
					put(t, c, key, string(key))
				}
				_, ok := lookup(t, c, key)
				require.True(t, ok)
			}
			left, err := filepath.Glob(filepath.Join(dir, tempFolder, "*"))
			require.NoError(t, err)
			assert.Len(t, left, 2, "the folders of the two caches that are open")
		}
		assert.Greater(t, n, 15)
	}
}
