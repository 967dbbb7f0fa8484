package configs

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Names of what is not finished yet, or not removed yet; a crash may leave them and Open clears them away.
const (
	temporaryPrefix = ".tmp-"
	trashPrefix     = ".trash-"
)

// largestFile bounds what is read; real configurations have a few kilobytes.
const largestFile = 8 << 20

// disk is the folder of a store. Names are relative to it, with slashes.
type disk struct {
	root *os.Root
	// before runs before each operation that changes the disk; tests make the n-th one fail.
	before func(operation, name string) error
}

func (d *disk) change(operation, name string, do func() error) error {
	if d.before != nil {
		if err := d.before(operation, name); err != nil {
			return fmt.Errorf("%s %s: %w", operation, name, err)
		}
	}
	err := do()
	if err != nil && d.leadsOut(path.Dir(name)) {
		return linkRefused(name)
	}
	return err
}

// leadsOut tells whether a link on the way to name cannot be followed: it leads out of the folder, in a circle or nowhere.
func (d *disk) leadsOut(name string) bool {
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		info, err := d.root.Lstat(name[:i])
		if err != nil {
			return false
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			if _, err := d.root.Stat(name[:i]); err != nil {
				return true
			}
		}
	}
	return false
}

func linkRefused(name string) error {
	return refuse(ErrOutside, "'%s' is reached by a link that leads out of the configs directory, or nowhere; replace the link by what it should lead to", name)
}

func (d *disk) exists(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

// read returns the content of a file; fs.ErrNotExist when there is none, and an *Error for what cannot be read.
func (d *disk) read(name string) ([]byte, error) {
	data, err := d.readLimited(name)
	switch {
	case err == nil:
		return data, nil
	case d.leadsOut(name):
		return nil, linkRefused(name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return nil, refuse(ErrBroken, "'%s' cannot be read: %v", name, err)
}

func (d *disk) readLimited(name string) ([]byte, error) {
	file, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe would wait for its writer
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a file")
	}
	data, err := io.ReadAll(io.LimitReader(file, largestFile+1))
	if err == nil && len(data) > largestFile {
		err = fmt.Errorf("it is larger than %d bytes", largestFile)
	}
	return data, err
}

// byteOrderMark begins what some editors write; it is not part of the JSON.
var byteOrderMark = []byte("\ufeff")

// readJSON decodes a file; numbers stay json.Number. What is not JSON is an ErrBroken that calls the file what.
func (d *disk) readJSON(name, what string) (any, error) {
	data, err := d.read(name)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, byteOrderMark)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, refuse(ErrBroken, "Invalid JSON in %s: %v", what, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, refuse(ErrBroken, "Invalid JSON in %s: there is something after the first value", what)
	}
	return value, nil
}

// writeJSON replaces a file atomically: sorted keys, two spaces.
func (d *disk) writeJSON(name string, value any, mode fs.FileMode) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return d.write(name, text.Bytes(), mode)
}

// write replaces a file so that a crash leaves the old one or the new one, and is durable when it returns.
func (d *disk) write(name string, data []byte, mode fs.FileMode) error {
	folder := path.Dir(name)
	if err := d.makeFolder(folder); err != nil {
		return err
	}
	temporary := path.Join(folder, temporaryName(temporaryPrefix))
	err := d.change("create", name, func() error { return d.create(temporary, data, mode) })
	if err == nil {
		err = d.change("rename", name, func() error { return d.root.Rename(temporary, name) })
	}
	if err != nil {
		_ = d.root.Remove(temporary)
		return err
	}
	return d.sync(folder)
}

// create writes a file that must not exist, and syncs it.
func (d *disk) create(name string, data []byte, mode fs.FileMode) error {
	file, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

func (d *disk) sync(folder string) error {
	return d.change("sync", folder, func() error {
		file, err := d.root.Open(folder)
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
}

func (d *disk) makeFolder(name string) error {
	if name == "." || d.exists(name) {
		return nil
	}
	if err := d.change("mkdir", name, func() error { return d.root.MkdirAll(name, 0o755) }); err != nil {
		return err
	}
	return d.sync(path.Dir(name))
}

// move renames a file or folder durably.
func (d *disk) move(from, to string) error {
	if err := d.change("rename", to, func() error { return d.root.Rename(from, to) }); err != nil {
		return err
	}
	if path.Dir(from) != path.Dir(to) {
		if err := d.sync(path.Dir(from)); err != nil {
			return err
		}
	}
	return d.sync(path.Dir(to))
}

// remove makes a file or folder disappear at once. What it held is deleted afterwards, at the latest by the next Open.
func (d *disk) remove(name string) error {
	trash := temporaryName(trashPrefix)
	if err := d.move(name, trash); err != nil {
		return err
	}
	_ = d.root.RemoveAll(trash)
	return nil
}

// clear removes what an earlier crash left in a folder.
func (d *disk) clear(folder string) error {
	entries, err := fs.ReadDir(d.root.FS(), folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(folder, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), temporaryPrefix), strings.HasPrefix(entry.Name(), trashPrefix):
			if err := d.root.RemoveAll(name); err != nil {
				return err
			}
		case entry.IsDir() && folder == ".":
			if err := d.clear(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Limits of copying the folder of an environment, which may hold files that are not its own.
const (
	mostCopiedFiles = 1000
	mostCopiedBytes = 256 << 20
)

// copyFolder copies a folder with its files and links into a new one and syncs both.
func (d *disk) copyFolder(from, to string) error {
	files, total := 0, int64(0)
	var folders []string
	err := fs.WalkDir(d.root.FS(), from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := to + strings.TrimPrefix(name, from)
		if entry.IsDir() {
			folders = append(folders, target)
			return d.change("mkdir", target, func() error { return d.root.Mkdir(target, 0o755) })
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files, total = files+1, total+info.Size()
		if files > mostCopiedFiles || total > mostCopiedBytes {
			return refuse(ErrInvalid, "The folder '%s' holds more than %d files or %d MiB; move what is no configuration out of it",
				from, mostCopiedFiles, mostCopiedBytes>>20)
		}
		return d.change("copy", target, func() error { return d.copyFile(name, target, info) })
	})
	for _, folder := range folders {
		if err == nil {
			err = d.sync(folder)
		}
	}
	return err
}

func (d *disk) copyFile(from, to string, info fs.FileInfo) error {
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := d.root.Readlink(from)
		if err != nil {
			return err
		}
		return d.root.Symlink(target, to)
	}
	if !info.Mode().IsRegular() {
		return refuse(ErrInvalid, "'%s' is neither a file nor a folder; remove it", from)
	}
	source, err := d.root.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := d.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, io.LimitReader(source, mostCopiedBytes))
	return errors.Join(err, copied.Sync(), copied.Close())
}

func temporaryName(prefix string) string {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	return prefix + hex.EncodeToString(random)
}
