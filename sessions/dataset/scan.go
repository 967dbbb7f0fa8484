package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// pictureExtensions are the kinds of files that count as pictures, in lower case.
var pictureExtensions = map[string]bool{".jpg": true, ".jpeg": true, ".png": true, ".webp": true}

// controlFolder is where ai-toolkit keeps generated control pictures.
const controlFolder = "_controls"

// source is where the files of one dataset come from.
type source struct {
	folder   string   // absolute
	root     *os.Root // access to folder that no link leaves
	pictures []picture
	bad      []Problem
}

// picture is a file found by a scan.
type picture struct {
	name     string   // path within the dataset's folder, with slashes, or an absolute path
	captions []string // from a caption map or a table
	mapped   bool     // there is a caption in the map
	problem  string   // why it cannot be used; empty: nothing is known against it
}

// openSource finds the pictures of a folder or of a caption map, in natural order of their names.
func openSource(location string) (*source, error) {
	location, err := filepath.Abs(location)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(location)
	if err != nil {
		return nil, err
	}
	folder, mapFile := location, ""
	if !info.IsDir() {
		if !strings.EqualFold(filepath.Ext(location), ".json") {
			return nil, fmt.Errorf("%s is neither a folder nor a JSON map of captions", location)
		}
		folder, mapFile = filepath.Split(location)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	s := &source{folder: filepath.Clean(folder), root: root}
	if mapFile != "" {
		err = s.readMap(mapFile)
	} else {
		err = s.walk()
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	slices.SortStableFunc(s.pictures, func(a, b picture) int { return naturalCompare(a.name, b.name) })
	return s, nil
}

// restrict makes bad pictures of those outside the folder that are not allowed.
func (s *source) restrict(allowed func(path string) error) {
	for i, p := range s.pictures {
		if name := filepath.FromSlash(p.name); allowed != nil && filepath.IsAbs(name) {
			if err := allowed(name); err != nil {
				s.pictures[i].problem = err.Error()
			}
		}
	}
}

func (s *source) close() error { return s.root.Close() }

func (s *source) refuse(name, format string, args ...any) {
	s.bad = append(s.bad, Problem{Path: s.path(name), Reason: fmt.Sprintf(format, args...)})
}

// walk lists the pictures below the folder. Links to pictures inside the
// folder count as pictures; links to folders are not followed.
func (s *source) walk() error {
	return fs.WalkDir(s.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			if name == "." {
				return err
			}
			s.refuse(name, "cannot be read: %v", err)
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		base := entry.Name()
		hidden := name != "." && strings.HasPrefix(base, ".")
		switch {
		case entry.IsDir() && (hidden || base == controlFolder):
			return fs.SkipDir
		case entry.IsDir(), hidden, !isPicture(base):
			return nil
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			return s.addLink(name)
		}
		if !entry.Type().IsRegular() {
			s.refuse(name, "is not a regular file")
			return nil
		}
		s.pictures = append(s.pictures, picture{name: name})
		return nil
	})
}

func (s *source) addLink(name string) error {
	info, err := s.root.Stat(filepath.FromSlash(name))
	switch {
	case err != nil:
		s.refuse(name, "is a broken link or leads out of %s", s.folder)
	case info.Mode().IsRegular():
		s.pictures = append(s.pictures, picture{name: name})
	}
	return nil
}

func isPicture(name string) bool { return pictureExtensions[strings.ToLower(path.Ext(name))] }

// mapEntry is a value of a caption map: a string or an object.
type mapEntry struct {
	Caption *string `json:"caption"`
}

// UnmarshalJSON reads either form.
func (e *mapEntry) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		type plain mapEntry
		return json.Unmarshal(data, (*plain)(e))
	}
	return json.Unmarshal(data, &e.Caption)
}

func (s *source) readMap(mapFile string) error {
	data, err := s.root.ReadFile(mapFile)
	if err != nil {
		return err
	}
	var entries map[string]mapEntry
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\ufeff")), &entries); err != nil {
		return fmt.Errorf("caption map %s: %w", s.path(mapFile), err)
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		switch {
		case !isPicture(name):
			s.refuse(name, "is not a picture file (%s)", extensionList())
		case !filepath.IsAbs(name) && !filepath.IsLocal(name):
			s.refuse(name, "leads out of %s", s.folder)
		default:
			p := picture{name: filepath.ToSlash(filepath.Clean(name))}
			if caption := entries[name].Caption; caption != nil {
				p.captions, p.mapped = []string{*caption}, true
			}
			s.pictures = append(s.pictures, p)
		}
	}
	return nil
}

func extensionList() string {
	return strings.Join(slices.Sorted(maps.Keys(pictureExtensions)), " ")
}

// path is the absolute path of a file of the source.
func (s *source) path(name string) string {
	name = filepath.FromSlash(name)
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.folder, name)
}

// open looks before it opens, because opening a pipe would wait for whoever writes into it.
func (s *source) open(name string) (*os.File, error) {
	name = filepath.FromSlash(name)
	stat, open := s.root.Stat, s.root.Open
	if filepath.IsAbs(name) {
		stat, open = os.Stat, os.Open
	}
	info, err := stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	return open(name)
}

// readText reads a small file, at most limit bytes.
func (s *source) readText(name string, limit int64) (text []byte, err error) {
	file, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err = io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(text)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes", limit)
	}
	return text, err
}

// naturalCompare orders names so that numbers in them count as numbers
// ("img2" before "img10"); names that are equal then are ordered byte by byte.
func naturalCompare(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if isDigit(x[0]) && isDigit(y[0]) {
			var m, n string
			m, x = cutNumber(x)
			n, y = cutNumber(y)
			if len(m) != len(n) {
				return len(m) - len(n)
			}
			if order := strings.Compare(m, n); order != 0 {
				return order
			}
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	if order := len(x) - len(y); order != 0 {
		return order
	}
	return strings.Compare(a, b)
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

// cutNumber splits off the leading digits, without leading zeros.
func cutNumber(s string) (digits, rest string) {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return strings.TrimLeft(s[:end], "0"), s[end:]
}
