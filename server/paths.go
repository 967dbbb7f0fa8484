package server

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
)

// runFolder is a folder that a parameter names: the run folder of a session, or one below the outputs folder, to which no
// symbolic link leads out of it. Other folders of the machine are not told about.
func (s *Server) runFolder(field, dir string) (string, error) {
	outputs, err := filepath.Abs(s.options.Roots.Outputs)
	if err != nil {
		return "", err
	}
	absolute := filepath.Clean(dir)
	if !filepath.IsAbs(absolute) {
		absolute = filepath.Join(outputs, absolute)
	}
	if s.isRunFolder(absolute) {
		return absolute, nil
	}
	outside := failure(http.StatusBadRequest, "%s: %s is neither the folder of a run nor below the outputs folder %s; "+
		"start the server with --outputs to serve another", field, dir, outputs)
	relative, err := filepath.Rel(outputs, absolute)
	if err != nil || !filepath.IsLocal(relative) {
		return "", outside
	}
	root, err := os.OpenRoot(outputs)
	if errors.Is(err, fs.ErrNotExist) {
		return absolute, nil // nothing is there yet
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	if _, err := root.Stat(relative); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", outside
	}
	return absolute, nil
}

func (s *Server) isRunFolder(dir string) bool {
	for _, session := range s.options.Manager.Sessions() {
		if session.Snapshot().RunDir == dir {
			return true
		}
	}
	return false
}
