package configs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A folder as SimpleTuner leaves it: both spellings in one file, environments without metadata, files of every kind.
func existing(t *testing.T) *Store {
	t.Helper()
	s := open(t, t.TempDir())
	writeFile(t, s, "mixed/config.json", `{"--model_family": "pixart_sigma", "model_type": "lora", "seed": 1, "--seed": 2,
		"data_backend_config": "config/mixed/multidatabackend.json", "--data_backend_config": "mixed/multidatabackend.json", "lr_end": null}`)
	writeFile(t, s, "mixed/multidatabackend.json", `[{"id": "a"}, {"id": "b"}]`)
	writeFile(t, s, "mixed/multidatabackend-512.json", `[]`)
	writeFile(t, s, "mixed/lycoris_config.json", `{"algo": "lokr", "factor": 16, "multiplier": 1.0}`)
	writeFile(t, s, "wrapped/config.json", `{"_metadata": {"name": "x"}, "config": {"--model_type": "full"}}`)
	writeFile(t, s, "described/config.json", `{"model_family": "flux"}`)
	writeFile(t, s, "described/.metadata.json", `{"name": "old-name", "description": "mine", "tags": ["a"], "created_at": "2025-01-01T00:00:00+00:00", "is_template": false}`)
	writeFile(t, s, "flat.json", `{"seed": 3}`)
	writeFile(t, s, "flat.metadata.json", `{"description": 7}`)
	writeFile(t, s, "multidatabackend-once.json", `[{"id": "demo"}]`)
	writeFile(t, s, "sets.json", `{"datasets": [{"id": "demo"}]}`)
	writeFile(t, s, "lycoris.json", `{"algo": "loha"}`)
	writeFile(t, s, "hook.json", `{"webhook_type": "raw"}`)
	writeFile(t, s, "webhooks/discord.json", `{"webhook_type": "discord", "webhook_url": "https://discord.com/api/webhooks/1", "auth_token": "secret"}`)
	writeFile(t, s, "webhooks/nested/webhook_config.json", `{"webhook_type": "raw", "callback_url": "http://x", "log_level": "debug"}`)
	writeFile(t, s, "webhooks/other.json", `{}`)
	writeFile(t, s, "templates/mine.json", `{"_metadata": {"description": "start"}, "config": {"--model_type": "lora", "model_type": "full"}}`)
	writeFile(t, s, "broken/config.json", `{`)
	writeFile(t, s, "torn.json", `{`)
	writeFile(t, s, "windows.json", "\ufeff"+`{"seed": 1}`)
	writeFile(t, s, "notes.txt", `x`)
	writeFile(t, s, "empty/readme.md", `x`)
	return s
}

func names(t *testing.T, s *Store, kind Kind) (all []string) {
	t.Helper()
	entries, err := s.List(kind)
	require.NoError(t, err)
	for _, e := range entries {
		all = append(all, e["name"].(string))
	}
	return all
}

func TestExistingFolder(t *testing.T) {
	s := existing(t)
	before := tree(t, s)
	assert.Equal(t, []string{"broken", "default", "described", "flat", "mixed", "torn", "windows", "wrapped"}, names(t, s, Model))
	assert.Equal(t, []string{"mixed", "mixed:multidatabackend-512", "multidatabackend-once", "sets"}, names(t, s, Dataloader))
	assert.Equal(t, []string{"lycoris", "mixed"}, names(t, s, Lycoris))
	assert.Equal(t, []string{"discord", "nested"}, names(t, s, Webhook))
	assert.Empty(t, names(t, s, "nonsense"))

	assert.Equal(t, map[string]any{"--model_family": "pixart_sigma", "model_type": "lora", "--seed": options(t, s, "mixed")["--seed"],
		"data_backend_config": "mixed/multidatabackend.json", "lr_end": nil}, options(t, s, "mixed"), "what has dashes was written by the user")
	assert.EqualValues(t, "2", options(t, s, "mixed")["--seed"])
	assert.Equal(t, map[string]any{"--model_type": "full"}, options(t, s, "wrapped"))
	d, err := s.Get(Model, "described.json")
	require.NoError(t, err)
	assert.Equal(t, "described", d.Metadata.Name, "the folder decides")
	assert.Equal(t, "mine", *d.Metadata.Description)
	assert.Equal(t, "2025-01-01T00:00:00+00:00", d.Metadata.CreatedAt)
	assert.Equal(t, "flux", *d.Metadata.ModelFamily)
	d, err = s.Get(Model, "flat")
	require.NoError(t, err)
	assert.Nil(t, d.Metadata.Description, "broken metadata is no obstacle")
	assert.NotEmpty(t, d.Metadata.ModifiedAt)
	d, err = s.Get(Dataloader, "mixed")
	require.NoError(t, err)
	assert.Len(t, d.Config, 2)

	entries, err := s.List(Model)
	require.NoError(t, err)
	assert.Contains(t, entries[0]["error"], "Invalid JSON in configuration 'broken'")
	assert.NotContains(t, entries[1], "error")
	assert.NotContains(t, entries[7], "error", "a byte order mark is skipped")
	entries, err = s.List(Webhook)
	require.NoError(t, err)
	assert.NotContains(t, entries[0], "auth_token", "lists hold no secrets")
	assert.Equal(t, "info", entries[0]["log_level"])
	for name, kind := range map[string]error{"broken": ErrBroken, "torn": ErrBroken, "lycoris": ErrNotFound, "hook": ErrNotFound,
		"multidatabackend-once": ErrNotFound, "empty": ErrNotFound, "templates": ErrNotFound} {
		_, err := s.Get(Model, name)
		assert.ErrorIs(t, err, kind, name)
	}
	d, err = s.Get(Dataloader, "mixed:multidatabackend-512")
	require.NoError(t, err)
	assert.Empty(t, d.Config)
	assert.Equal(t, before, tree(t, s), "reading changes nothing")

	require.NoError(t, s.Save("broken", map[string]any{"seed": 1}), "what is broken can be replaced")
	_, err = s.FromTemplate("mine", "made")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"--model_type": "lora"}, options(t, s, "made"))
	templates, err := s.Templates()
	require.NoError(t, err)
	require.Len(t, templates, 3)
	assert.Equal(t, "start", *templates[0].Description)
	assert.True(t, templates[0].IsTemplate)
}

// SimpleTuner's own folders have names that new environments may not have.
func TestNamesOfExistingFolders(t *testing.T) {
	s := open(t, t.TempDir())
	writeFile(t, s, "flux.peft-lora+TREAD/config.json", `{"seed": 1}`)
	assert.Contains(t, names(t, s, Model), "flux.peft-lora+TREAD")
	require.NoError(t, s.Save("flux.peft-lora+TREAD", map[string]any{"--seed": 2}))
	name, err := s.Activate("flux.peft-lora+TREAD")
	require.NoError(t, err)
	assert.Equal(t, "flux.peft-lora+TREAD", name)
	_, err = s.Copy(Model, name, "a+b")
	assert.ErrorIs(t, err, ErrBadName)
	_, err = s.Rename(Model, name, "flux")
	require.NoError(t, err)
	assert.Equal(t, "flux", s.ActiveName())
	assert.NoDirExists(t, filepath.Join(s.Dir(), "flux.peft-lora+TREAD"))
	assert.ErrorIs(t, s.Save("flux.peft-lora+TREAD", nil), ErrBadName, "what is gone cannot be made again")
}

func TestOtherKinds(t *testing.T) {
	s := existing(t)
	for _, kind := range []Kind{Dataloader, Lycoris, Webhook} {
		t.Run(string(kind), func(t *testing.T) {
			var config any = map[string]any{"algo": "loha", "webhook_type": "raw"}
			if kind == Dataloader {
				config = []any{map[string]any{"id": "x"}}
			}
			_, err := s.Create(kind, "fresh", config, Details{})
			require.NoError(t, err)
			_, err = s.Create(kind, "fresh", config, Details{})
			assert.ErrorIs(t, err, ErrExists)
			_, err = s.Update(kind, "fresh", config, Details{})
			require.NoError(t, err)
			_, err = s.Copy(kind, "fresh", "second")
			require.NoError(t, err)
			_, err = s.Rename(kind, "second", "third")
			require.NoError(t, err)
			d, err := s.Get(kind, "third")
			require.NoError(t, err)
			assert.Equal(t, config, d.Config)
			assert.Subset(t, names(t, s, kind), []string{"fresh", "third"})
			assert.NotContains(t, names(t, s, kind), "second")
			require.NoError(t, s.Delete(kind, "third"))
			require.NoError(t, s.Delete(kind, "fresh"))
			assert.NotContains(t, names(t, s, kind), "third")
			_, err = s.Create(kind, "wrong", "text", Details{})
			assert.ErrorIs(t, err, ErrInvalid)
			_, err = s.Create(kind, "flat", config, Details{})
			if kind != Webhook {
				assert.ErrorIs(t, err, ErrExists, "by an environment's file")
			}
		})
	}
	require.NoError(t, s.Delete(Dataloader, "mixed"))
	assert.FileExists(t, filepath.Join(s.Dir(), "mixed", "config.json"), "a dataloader goes without its environment")
	place, _, err := s.SaveWebhook("fresh", map[string]any{"webhook_type": "raw"})
	require.NoError(t, err)
	info, err := os.Stat(place.Absolute)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it may hold a token")
	_, err = s.Create(Model, "tokens", map[string]any{"--webhook_config": `[{"auth_token": "x"}]`}, Details{})
	require.NoError(t, err)
	info, err = os.Stat(filepath.Join(s.Dir(), "tokens.json"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds one")
}

func TestLycorisFile(t *testing.T) {
	s := existing(t)
	config, err := s.LycorisConfig("mixed")
	require.NoError(t, err)
	assert.Equal(t, "lokr", config.(map[string]any)["algo"])
	place, err := s.SaveLycoris("described", map[string]any{"algo": "loha"})
	require.NoError(t, err)
	assert.Equal(t, "described/lycoris_config.json", place.Path)
	assert.Equal(t, place.Path, options(t, s, "described")["lycoris_config"])
	for _, path := range []string{"../x.json", "/etc/x.json", "x.txt", "flat.json"} {
		require.NoError(t, s.Save("described", map[string]any{"--lycoris_config": path}))
		_, err = s.SaveLycoris("described", map[string]any{"algo": "loha"})
		var refused *Error
		assert.ErrorAs(t, err, &refused, path)
	}
	assert.JSONEq(t, `{"seed": 3}`, readFile(t, s, "flat.json"))
}

// Whatever a client names, nothing outside the folder is read or written.
func TestTraversal(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "config.json"), []byte(`{"secret": "outside"}`), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "multidatabackend.json"), []byte(`[{"id": "outside"}]`), 0o644))
	s := existing(t)
	link := func(target, name string) { require.NoError(t, os.Symlink(target, filepath.Join(s.Dir(), name))) }
	link(outside, "linked")
	link(filepath.Join(outside, "config.json"), "file.json")
	link(filepath.Join(outside, "config.json"), "empty/config.json")
	link("../../../../../../etc/passwd", "up.json")
	link("loop.json", "loop.json")
	link("nowhere.json", "dangling.json")
	require.NoError(t, syscall.Mkfifo(filepath.Join(s.Dir(), "pipe.json"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(s.Dir(), "folder.json"), 0o755))

	corpus := []string{"linked", "file", "empty", "up", "loop", "dangling", "pipe", "folder", "..", ".", "", "/etc/passwd", "../" + filepath.Base(outside),
		"a/../../b", `..\..\x`, "%2e%2e", "..%2f", "a\x00b", "a\nb", "．．/x", strings.Repeat("a", 300), strings.Repeat("../", 50), "~root", "C:\\x", "linked/config"}
	for _, name := range corpus {
		for _, kind := range []Kind{Model, Dataloader, Webhook, Lycoris} {
			_, err := s.Get(kind, name)
			var refused *Error
			require.ErrorAs(t, err, &refused, "get %s %q", kind, name)
			_, err = s.Copy(kind, name, "target")
			require.ErrorAs(t, err, &refused, "copy %s %q", kind, name)
		}
		for what, do := range map[string]func() error{
			"dataloader": func() error { _, _, err := s.RegenerateDataloader(name, "", true); return err },
			"path":       func() error { _, _, err := s.RegenerateDataloader("flat", name+"/x", true); return err },
			"lycoris":    func() error { _, err := s.SaveLycoris(name, map[string]any{}); return err },
			"read":       func() error { _, err := s.ReadFile(name); return err },
			"activate":   func() error { _, err := s.Activate(name); return err },
			"environment": func() error {
				_, err := s.CreateEnvironment(EnvironmentRequest{Name: "e", DataloaderPath: name + "/../../x"})
				return err
			},
			"template": func() error { _, err := s.FromTemplate(name, "x"); return err },
		} {
			err := do()
			var refused *Error
			require.ErrorAs(t, err, &refused, "%s %q", what, name)
		}
	}
	for _, path := range []string{"linked/config.json", "linked/multidatabackend.json", filepath.Join(outside, "config.json"), "empty/config.json", "mixed/../../x.json"} {
		_, err := s.ReadFile(path)
		assert.ErrorIs(t, err, ErrOutside, path)
	}
	_, _, err := s.RegenerateDataloader("flat", "linked/new.json", true)
	assert.ErrorIs(t, err, ErrOutside)
	_, err = s.Create(Model, "linked", map[string]any{}, Details{})
	assert.ErrorIs(t, err, ErrOutside)
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	assert.Len(t, entries, 2, "nothing was written outside")
	data, err := os.ReadFile(filepath.Join(outside, "config.json"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"secret": "outside"}`, string(data))
}
