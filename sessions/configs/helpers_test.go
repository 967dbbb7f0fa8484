package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func writeFile(t *testing.T, s *Store, name, text string) {
	t.Helper()
	file := filepath.Join(s.Dir(), name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

func readFile(t *testing.T, s *Store, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.Dir(), name))
	require.NoError(t, err)
	return string(data)
}

// object decodes JSON as the server does, with exact numbers.
func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var value map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &value))
	return value
}

// environment creates an environment of the tutorial.
func environment(t *testing.T, s *Store, name string) *Environment {
	t.Helper()
	e, err := s.CreateEnvironment(EnvironmentRequest{Name: name, ModelFamily: "pixart_sigma", ModelFlavour: "900M-1024-v0.6", ModelType: "full",
		Description: "PixArt 900M API-driven training"})
	require.NoError(t, err)
	return e
}

func options(t *testing.T, s *Store, name string) map[string]any {
	t.Helper()
	d, err := s.Get(Model, name)
	require.NoError(t, err)
	return d.Options()
}

// tree lists every file below the folder with its content.
func tree(t *testing.T, s *Store) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, filepath.WalkDir(s.Dir(), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(s.Dir(), path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = string(data)
		return err
	}))
	return files
}
