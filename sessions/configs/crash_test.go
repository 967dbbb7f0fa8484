package configs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errFault = errors.New("injected fault")

// failAt makes the n-th operation on the disk fail, and all that follow, as after a crash.
func failAt(s *Store, n int) (reached func() bool) {
	done := 0
	s.disk.before = func(string, string) error {
		if done++; done >= n {
			return errFault
		}
		return nil
	}
	return func() bool { return done >= n }
}

// Every operation, failed at every step, leaves environments that are whole: as before it, or as after it.
func TestFaultsLeaveWholeEnvironments(t *testing.T) {
	operations := map[string]func(s *Store) error{
		"create": func(s *Store) error {
			_, err := s.Create(Model, "new", map[string]any{"seed": 2}, Details{})
			return err
		},
		"update":      func(s *Store) error { return s.Save("env", map[string]any{"seed": 2}) },
		"delete":      func(s *Store) error { return s.Delete(Model, "env") },
		"delete flat": func(s *Store) error { return s.Delete(Model, "flat") },
		"copy":        func(s *Store) error { _, err := s.Copy(Model, "env", "new"); return err },
		"rename":      func(s *Store) error { _, err := s.Rename(Model, "busy", "new"); return err },
		"rename flat": func(s *Store) error { _, err := s.Rename(Model, "flat", "new"); return err },
		"activate":    func(s *Store) error { _, err := s.Activate("env"); return err },
		"environment": func(s *Store) error {
			_, err := s.CreateEnvironment(EnvironmentRequest{Name: "new", ModelFamily: "pixart", Example: "pixart.full"})
			return err
		},
		"dataloader": func(s *Store) error { _, _, err := s.RegenerateDataloader("env", "", true); return err },
		"lycoris":    func(s *Store) error { _, err := s.SaveLycoris("env", map[string]any{"algo": "lokr"}); return err },
		"webhook": func(s *Store) error {
			_, _, err := s.SaveWebhook("hook", map[string]any{"webhook_type": "raw"})
			return err
		},
	}
	origin := open(t, t.TempDir())
	environment(t, origin, "env")
	environment(t, origin, "busy")
	_, err := origin.Activate("busy")
	require.NoError(t, err)
	_, err = origin.Create(Model, "flat", map[string]any{"seed": 1}, Details{Description: "flat"})
	require.NoError(t, err)
	before := tree(t, origin)
	for name, operation := range operations {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				dir := t.TempDir()
				require.NoError(t, os.CopyFS(dir, os.DirFS(origin.Dir())))
				s := open(t, dir)
				reached := failAt(s, n)
				err := operation(s)
				s.disk.before = nil
				if !reached() {
					require.NoError(t, err)
					require.Greater(t, n, 2, "the operation has steps that can fail")
					return
				}
				require.ErrorIs(t, err, errFault)
				checkWhole(t, open(t, s.Dir()), before)
			}
		})
	}
}

// checkWhole requires that what a restarted store shows is complete, and that nothing else lies around.
func checkWhole(t *testing.T, s *Store, before map[string]string) {
	t.Helper()
	for name, content := range tree(t, s) {
		require.True(t, json.Valid([]byte(content)), "%s is torn: %q", name, content)
		require.NotContains(t, name, temporaryPrefix)
		require.NotContains(t, name, trashPrefix)
		if old, ok := before[name]; ok && strings.HasSuffix(name, "multidatabackend.json") && old != content {
			require.Contains(t, content, "-images", "a starter dataloader")
		}
	}
	entries, err := s.List(Model)
	require.NoError(t, err)
	for _, entry := range entries {
		d, err := s.Get(Model, entry["name"].(string))
		require.NoError(t, err)
		if dataloader := text(d.Options(), dataloaderOption); dataloader != "" {
			require.FileExists(t, filepath.Join(s.Dir(), dataloader), "the dataloader of %s", d.Name)
		}
	}
	require.Contains(t, []string{"busy", "new", "env"}, s.ActiveName())
	for _, name := range []string{"busy", "default"} {
		_, err := s.Get(Model, name)
		if name == "busy" && s.ActiveName() == "new" {
			continue // it has its new name
		}
		require.NoError(t, err)
	}
}

func TestRegenerateKeepsTheOldDataloader(t *testing.T) {
	s := open(t, t.TempDir())
	environment(t, s, "env")
	writeFile(t, s, "env/multidatabackend.json", `[{"id": "mine"}]`)
	_, first, err := s.RegenerateDataloader("env", "", true)
	require.NoError(t, err)
	assert.Equal(t, `[{"id": "mine"}]`, readFile(t, s, first.Backup))
	assert.Contains(t, readFile(t, s, "env/multidatabackend.json"), "env-images")
	_, second, err := s.RegenerateDataloader("env", "", false)
	require.NoError(t, err)
	assert.NotEqual(t, first.Backup, second.Backup)
	assert.JSONEq(t, `[]`, readFile(t, s, "env/multidatabackend.json"))

	metadata, place, err := s.RegenerateDataloader("env", "other/sets.json", true)
	require.NoError(t, err)
	assert.Empty(t, place.Backup)
	assert.Equal(t, "env", metadata.Name)
	assert.Equal(t, "other/sets.json", options(t, s, "env")["data_backend_config"], "the environment points to it")
	writeFile(t, s, "env/multidatabackend.json", `[{"id": `)
	_, place, err = s.RegenerateDataloader("env", "", true)
	require.NoError(t, err)
	assert.Equal(t, `[{"id": `, readFile(t, s, place.Backup), "also of a broken one")
	_, err = s.Create(Model, "flat", map[string]any{}, Details{})
	require.NoError(t, err)
	_, place, err = s.RegenerateDataloader("flat", "", true)
	require.NoError(t, err)
	assert.Equal(t, "flat/multidatabackend.json", place.Path)
	assert.Equal(t, "flat/multidatabackend.json", options(t, s, "flat")["data_backend_config"])
	assert.FileExists(t, filepath.Join(s.Dir(), "flat.json"), "the environment stays where it was")
}
