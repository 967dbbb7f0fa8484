// Package cache keeps latents and text embeddings on disk, addressed by what
// they were made from.
//
// The key of an entry is a hash of everything that decides its content: the
// kind, the model component, every setting and the source (Recipe). So an
// entry can be missing or damaged but never stale: what changed has another
// key. An entry is a folder with a safetensors file and its checksum,
//
//	<dir>/<first two digits of the key>/<key>/data.safetensors
//	<dir>/<first two digits of the key>/<key>/checksum.json
//
// written in <dir>/tmp, synced, and renamed into place, so that it is there
// completely or not at all. Lookup reads the file back and compares the
// checksum; a damaged entry is removed and counts as missing.
//
// Several goroutines and several processes may use one folder. Of two that
// make the same entry, the first to publish it wins. Leftovers of processes
// that died are removed by the next Open.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Files and folders of a cache.
const (
	dataFile     = "data.safetensors"
	checksumFile = "checksum.json"
	tempFolder   = "tmp"
	hashFolder   = "hashes"
	lockFile     = "lock"
)

// Cache is an open cache folder. Close it after use.
type Cache struct {
	dir   string
	disk  disk
	temp  string   // folder for entries in the making, of this Cache alone
	alive *os.File // locked as long as temp is in use
	once  sync.Once
}

// Open opens the cache in dir, which is made if missing, and removes what
// processes that are gone have left unfinished.
func Open(dir string) (*Cache, error) { return openOn(disk{}, dir) }

func openOn(d disk, dir string) (*Cache, error) {
	c, err := open(d, dir)
	if err != nil {
		return nil, fmt.Errorf("open cache %s: %w", dir, err)
	}
	return c, nil
}

func open(d disk, dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	for _, folder := range []string{tempFolder, hashFolder} {
		if err := d.mkdirAll(filepath.Join(dir, folder)); err != nil {
			return nil, err
		}
	}
	c := &Cache{dir: dir, disk: d}
	// The lock keeps a sweep from seeing a folder between its making and its locking.
	err = c.withLock(func() error {
		if err := c.sweep(); err != nil {
			return err
		}
		if c.temp, err = c.disk.mkdirTemp(filepath.Join(dir, tempFolder), "run-"); err != nil {
			return err
		}
		c.alive, err = lockExclusive(filepath.Join(c.temp, lockFile), true)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Close removes unfinished entries of this Cache. Published entries stay.
func (c *Cache) Close() error {
	var err error
	c.once.Do(func() {
		err = errors.Join(c.disk.removeAll(c.temp), c.alive.Close())
	})
	return err
}

// sweep removes the temporary folders that no living process has locked.
func (c *Cache) sweep() error {
	folders, err := os.ReadDir(filepath.Join(c.dir, tempFolder))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		path := filepath.Join(c.dir, tempFolder, folder.Name())
		lock, err := lockExclusive(filepath.Join(path, lockFile), false)
		if errors.Is(err, errLocked) {
			continue
		}
		if err == nil {
			err = lock.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := c.disk.removeAll(path); err != nil {
			return err
		}
	}
	return nil
}

// withLock runs f while no other holder of the cache's lock does.
func (c *Cache) withLock(f func() error) error {
	lock, err := lockExclusive(filepath.Join(c.dir, lockFile), true)
	if err != nil {
		return err
	}
	return errors.Join(f(), lock.Close())
}

func (c *Cache) entry(key Key) string { return filepath.Join(c.dir, string(key[:2]), string(key)) }

// Lookup returns the file of an entry, or false if it has to be made. A
// damaged entry is removed. Errors are those of reading the disk.
func (c *Cache) Lookup(key Key) (path string, ok bool, err error) {
	if err := key.check(); err != nil {
		return "", false, err
	}
	folder := c.entry(key)
	err = verify(folder)
	if errors.Is(err, errDamaged) {
		err = c.removeDamaged(folder)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("look up cache entry %s: %w", key, err)
	}
	return filepath.Join(folder, dataFile), true, nil
}

// removeDamaged removes an entry unless somebody has mended it meanwhile (no
// error). Otherwise the error is fs.ErrNotExist.
func (c *Cache) removeDamaged(folder string) error {
	return c.withLock(func() error {
		err := verify(folder)
		if !errors.Is(err, errDamaged) {
			return err
		}
		// Renamed first: readers never see half an entry.
		trash, err := c.disk.mkdirTemp(c.temp, "damaged-")
		if err != nil {
			return err
		}
		if err := c.disk.rename(folder, filepath.Join(trash, "entry")); err != nil {
			return err
		}
		if err := c.disk.removeAll(trash); err != nil {
			return err
		}
		return fs.ErrNotExist
	})
}

// Begin starts an entry: write the safetensors file to Pending.Path, then
// Commit or Discard.
func (c *Cache) Begin(key Key) (*Pending, error) {
	if err := key.check(); err != nil {
		return nil, err
	}
	folder, err := c.disk.mkdirTemp(c.temp, string(key[:8])+"-")
	if err != nil {
		return nil, fmt.Errorf("begin cache entry %s: %w", key, err)
	}
	return &Pending{cache: c, key: key, folder: folder}, nil
}

// Pending is an entry in the making. It belongs to one goroutine.
type Pending struct {
	cache  *Cache
	key    Key
	folder string
}

// Path is where the entry's safetensors file has to be written.
func (p *Pending) Path() string { return filepath.Join(p.folder, dataFile) }

// Discard gives the entry up. After Commit it does nothing.
func (p *Pending) Discard() error { return p.cache.disk.removeAll(p.folder) }

// Commit publishes the entry and returns its final path. If another process
// has published it first, that one stays. After an error the entry is
// discarded.
func (p *Pending) Commit() (path string, err error) {
	final := p.cache.entry(p.key)
	if err := p.publish(final); err != nil {
		return "", errors.Join(fmt.Errorf("publish cache entry %s: %w", p.key, err), p.Discard())
	}
	return filepath.Join(final, dataFile), nil
}

func (p *Pending) publish(final string) error {
	if err := p.cache.disk.seal(p.folder); err != nil {
		return err
	}
	if err := p.cache.disk.mkdirAll(filepath.Dir(final)); err != nil {
		return err
	}
	for {
		err := p.cache.disk.rename(p.folder, final)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		// Somebody was faster. Theirs is as good as ours, unless it is damaged: then Lookup removes it.
		if _, ok, err := p.cache.Lookup(p.key); err != nil {
			return err
		} else if ok {
			return p.Discard()
		}
	}
}
