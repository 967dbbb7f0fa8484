package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS is the file operations that change a run folder. Tests replace it to fail the n-th operation.
type FS interface {
	// MkdirAll creates a folder and its parents.
	MkdirAll(path string) error
	// WriteFile creates a file that must not exist, writes data and syncs it.
	WriteFile(path string, data []byte) error
	// Sync flushes a file or folder to the disk.
	Sync(path string) error
	// Rename moves oldpath to newpath.
	Rename(oldpath, newpath string) error
	// Link makes newpath a second name of the file oldpath, or a synced copy where links are not possible.
	Link(oldpath, newpath string) error
	// RemoveAll deletes a file or folder; one that is not there is no error.
	RemoveAll(path string) error
}

// OS is the FS of the operating system.
type OS struct{}

// MkdirAll implements FS.
func (OS) MkdirAll(path string) error { return os.MkdirAll(path, 0o755) }

// MakeFolder creates a folder and its parents so that they survive a power cut: a folder is durable when the one that it
// is in has been synced.
func MakeFolder(fsys FS, path string) error {
	unsynced := []string{filepath.Dir(path)} // also when path is there: whoever made it may not have come to this
	for dir := filepath.Dir(path); !isThere(dir) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		unsynced = append(unsynced, filepath.Dir(dir))
	}
	if err := fsys.MkdirAll(path); err != nil {
		return err
	}
	for _, dir := range unsynced {
		// A folder that may be entered, but not read, cannot be synced; then somebody else has made what is in it.
		if err := fsys.Sync(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// WriteFile implements FS.
func (OS) WriteFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

// Sync implements FS.
func (OS) Sync(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// Rename implements FS.
func (OS) Rename(oldpath, newpath string) error { return os.Rename(oldpath, newpath) }

// Link implements FS.
func (OS) Link(oldpath, newpath string) error {
	err := os.Link(oldpath, newpath)
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return CopyFile(oldpath, newpath)
}

// CopyFile copies a file to a name that nothing has yet, and syncs it.
func CopyFile(oldpath, newpath string) error {
	from, err := os.Open(oldpath)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(newpath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Sync(), to.Close())
}

// RemoveAll implements FS.
func (OS) RemoveAll(path string) error { return os.RemoveAll(path) }

// walk calls visit with the path, relative to dir and with slashes, of every entry below dir. Anything but folders and
// regular files is refused.
func walk(dir string, visit func(name string, entry fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !entry.IsDir() && !entry.Type().IsRegular() {
			return fmt.Errorf("%s is neither a file nor a folder", path)
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return visit(filepath.ToSlash(name), entry)
	})
}
