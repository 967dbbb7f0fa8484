package simpletuner

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxConfigBytes bounds files of settings.
const maxConfigBytes = 4 << 20

// readConfig reads a file of settings. Relative paths start at the folder of configs, with or without a leading
// "config/", then at the working directory; they do not leave either. Other files have to be where the Limit allows. It
// also returns the path that was read.
func readConfig(roots Roots, path string) (data []byte, found string, err error) {
	if strings.ContainsRune(path, 0) {
		return nil, "", errors.New("the path holds a NUL character; remove it")
	}
	if inside, err := filepath.Rel(roots.Configs, path); roots.Limit != nil && filepath.IsAbs(path) && err == nil && filepath.IsLocal(inside) {
		path = inside
	}
	if filepath.IsAbs(path) {
		data, err := readLimited(path, roots.Limit.Stat, roots.Limit.Open)
		if err != nil {
			return nil, "", fmt.Errorf("file %s: %w", path, err)
		}
		return data, path, nil
	}
	if !filepath.IsLocal(path) {
		return nil, "", fmt.Errorf("%q leads out of the folder of configs; name a file inside it, or its absolute path", path)
	}
	var looked []string
	for _, place := range configPlaces(roots.Configs, path) {
		if place.folder != roots.Configs || roots.Configs == "" {
			if err := roots.Limit.Check(filepath.Join(place.folder, place.name)); err != nil {
				return nil, "", err
			}
		}
		data, err := readInside(place.folder, place.name)
		if err == nil {
			return data, filepath.Join(place.folder, place.name), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", fmt.Errorf("file %s: %w", filepath.Join(place.folder, place.name), err)
		}
		looked = append(looked, filepath.Join(place.folder, place.name))
	}
	return nil, "", fmt.Errorf("file %s does not exist (looked for %s); create it, or name another", path, strings.Join(looked, ", "))
}

// below is where a name leads that starts at a folder unless it is absolute.
func below(folder, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(folder, name)
}

type place struct{ folder, name string }

func configPlaces(configs, path string) []place {
	places := []place{{configs, path}}
	if inside, ok := strings.CutPrefix(filepath.ToSlash(path), "config/"); ok {
		places = append(places, place{configs, inside})
	}
	if configs != "" {
		places = append(places, place{".", path})
	}
	return places
}

// readInside reads a file that no link leads out of folder.
func readInside(folder, name string) ([]byte, error) {
	if folder == "" {
		folder = "."
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	data, err := readLimited(name, root.Stat, root.Open)
	return data, errors.Join(err, root.Close())
}

// readLimited looks before it opens, because opening a pipe would wait for whoever writes into it.
func readLimited(name string, stat func(string) (fs.FileInfo, error), open func(string) (*os.File, error)) (data []byte, err error) {
	info, err := stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, maxConfigBytes+1))
	if err == nil && len(data) > maxConfigBytes {
		err = fmt.Errorf("is larger than %d bytes", maxConfigBytes)
	}
	return data, err
}
