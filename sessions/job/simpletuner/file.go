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
// "config/", then at the working directory; they do not leave either. It also returns the path that was read.
func readConfig(configs, path string) (data []byte, found string, err error) {
	if strings.ContainsRune(path, 0) {
		return nil, "", errors.New("the path holds a NUL character; remove it")
	}
	if filepath.IsAbs(path) {
		data, err := readLimited(path, os.Stat, os.Open)
		if err != nil {
			return nil, "", fmt.Errorf("file %s: %w", path, err)
		}
		return data, path, nil
	}
	if !filepath.IsLocal(path) {
		return nil, "", fmt.Errorf("%q leads out of the folder of configs; name a file inside it, or its absolute path", path)
	}
	var looked []string
	for _, place := range configPlaces(configs, path) {
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
