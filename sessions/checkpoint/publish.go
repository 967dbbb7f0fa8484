package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// publish gives the weights their names in the run folder. It can be repeated.
func (f *Folder) publish(info *Info) error {
	if len(info.Manifest.Published) == 0 {
		return nil
	}
	source := filepath.Join(info.Path, filepath.FromSlash(info.Manifest.Weights))
	for _, name := range info.Manifest.Published {
		if err := f.linkTree(source, filepath.Join(f.dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return f.fsys.Sync(f.dir)
}

// linkTree makes target another name of source, a file or a folder, replacing what has that name.
func (f *Folder) linkTree(source, target string) error {
	tmp := filepath.Join(f.dir, tmpPrefix+randomName())
	err := walk(source, func(name string, entry fs.DirEntry) error {
		to := filepath.Join(tmp, filepath.FromSlash(name))
		if entry.IsDir() {
			return f.fsys.MkdirAll(to)
		}
		return f.fsys.Link(filepath.Join(source, filepath.FromSlash(name)), to)
	})
	if err != nil {
		return errors.Join(err, f.fsys.RemoveAll(tmp))
	}
	if err := f.fsys.MkdirAll(filepath.Dir(target)); err != nil {
		return errors.Join(err, f.fsys.RemoveAll(tmp))
	}
	if stat, err := os.Lstat(target); err == nil && stat.IsDir() {
		// A folder cannot be replaced by rename; its files live on in the checkpoint they were linked from.
		if err := f.fsys.RemoveAll(target); err != nil {
			return err
		}
	}
	if err := f.fsys.Rename(tmp, target); err != nil {
		return errors.Join(err, f.fsys.RemoveAll(tmp))
	}
	// A rename onto another name of the same file does nothing and reports success: then tmp is still there.
	if err := f.fsys.RemoveAll(tmp); err != nil {
		return err
	}
	return f.fsys.Sync(filepath.Dir(target))
}
