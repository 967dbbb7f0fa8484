// Package paths keeps jobs within the folders that the operator names.
package paths

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limit is the folders that jobs may name files and folders in. A nil Limit allows every path.
type Limit struct{ folders []string } // absolute, without symbolic links

// New makes a Limit of folders, which must be there; none makes one that allows every path.
func New(folders []string) (*Limit, error) {
	if len(folders) == 0 {
		return nil, nil
	}
	l := &Limit{}
	for _, folder := range folders {
		absolute, err := filepath.Abs(folder)
		if err == nil {
			absolute, err = filepath.EvalSymlinks(absolute)
		}
		if err != nil {
			return nil, fmt.Errorf("folder of jobs: %w; name one that is there", err)
		}
		if stat, err := os.Stat(absolute); err != nil || !stat.IsDir() {
			return nil, fmt.Errorf("folder of jobs: %s is not a folder; name one that is", folder)
		}
		l.folders = append(l.folders, absolute)
	}
	return l, nil
}

// Folders are those of the Limit, for a New in another process.
func (l *Limit) Folders() []string {
	if l == nil {
		return nil
	}
	return l.folders
}

// Check returns nil when a path, which need not exist, is in one of the folders with every symbolic link on its way
// followed. Relative paths start at the working directory.
func (l *Limit) Check(path string) error {
	_, _, err := l.find(path)
	return err
}

// find returns the folder that a path is in, and its place there, without symbolic links.
func (l *Limit) find(path string) (folder, place string, err error) {
	if l == nil {
		return "", "", nil
	}
	real, err := follow(path)
	if err == nil {
		for _, folder := range l.folders {
			if place, err := filepath.Rel(folder, real); err == nil && filepath.IsLocal(place) {
				return folder, place, nil
			}
		}
	}
	// Why a path outside cannot be followed is nobody's business.
	return "", "", fmt.Errorf("%q is not in a folder that jobs of this server may use (%s); move it there, or start the server with --root for the folder that it is in",
		path, strings.Join(l.folders, ", "))
}

// follow resolves the symbolic links of the part of a path that exists.
func follow(path string) (string, error) {
	if strings.ContainsRune(path, 0) {
		return "", fs.ErrInvalid
	}
	at, err := filepath.Abs(path)
	for missing := ""; err == nil; at, missing = filepath.Dir(at), filepath.Join(filepath.Base(at), missing) {
		real, failed := filepath.EvalSymlinks(at)
		if failed == nil {
			return filepath.Join(real, missing), nil
		}
		if _, there := os.Lstat(at); there == nil || !errors.Is(failed, fs.ErrNotExist) {
			return "", failed // a link that leads nowhere could lead anywhere tomorrow
		}
	}
	return "", err
}

// Stat is os.Stat for paths in the folders.
func (l *Limit) Stat(path string) (info fs.FileInfo, err error) {
	if l == nil {
		return os.Stat(path)
	}
	err = l.inside(path, func(root *os.Root, place string) error {
		info, err = root.Stat(place)
		return err
	})
	return info, err
}

// Open is os.Open for paths in the folders. The file is opened by the handle of its folder, so that no link that comes
// after the check leads out.
func (l *Limit) Open(path string) (file *os.File, err error) {
	if l == nil {
		return os.Open(path)
	}
	err = l.inside(path, func(root *os.Root, place string) error {
		file, err = root.Open(place)
		return err
	})
	return file, err
}

func (l *Limit) inside(path string, do func(root *os.Root, place string) error) error {
	folder, place, err := l.find(path)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	return errors.Join(do(root, place), root.Close())
}
