package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCleanName(t *testing.T) {
	long := string(make([]byte, 0, longestName+1))
	for range longestName + 1 {
		long += "a"
	}
	for name, want := range map[string]string{
		"demo": "demo", " demo ": "demo", "demo.json": "demo", "DEMO.JSON": "DEMO", "a.b_c-1": "a.b_c-1", "x.json.json": "x.json",
		long[1:]: long[1:],
		"":       "", " ": "", ".json": "", ".": "", "..": "", "a b": "", "a/b": "", `a\b`: "", "ä": "", "a\x00b": "", "a\n": "a", "../x": "", long: "", "..json": "",
	} {
		got, err := CleanName(name)
		if want == "" {
			assert.ErrorIs(t, err, ErrBadName, "%q", name)
			continue
		}
		assert.NoError(t, err, "%q", name)
		assert.Equal(t, want, got)
	}
	for _, name := range []string{".hidden", "x.metadata", "webhooks", "active", "templates"} {
		_, err := newName(name)
		assert.ErrorIs(t, err, ErrBadName, name)
	}
}

func TestFold(t *testing.T) {
	stored := map[string]any{"seed": json.Number("42"), "--lr": json.Number("1e-05"), "--validation_steps": json.Number("9")}
	tests := []struct {
		name       string
		sent, want map[string]any
	}{
		{"one spelling is kept as sent", map[string]any{"--a": 1, "b": nil}, map[string]any{"--a": 1, "b": nil}},
		{"dashed is new", map[string]any{"seed": json.Number("42"), "--seed": json.Number("7")}, map[string]any{"--seed": json.Number("7")}},
		{"plain is new", map[string]any{"lr": json.Number("2"), "--lr": json.Number("0.00001")}, map[string]any{"lr": json.Number("2")}},
		{"both are new", map[string]any{"seed": 1, "--seed": 2}, map[string]any{"--seed": 2}},
		{"a list counts as a whole", map[string]any{"p": []any{json.Number("1")}, "--p": []any{json.Number("1.0")}}, map[string]any{"--p": []any{json.Number("1.0")}}},
		{"an old name is new", map[string]any{"seed": 1, "--validation_steps": 5, "--validation_step_interval": json.Number("9")}, map[string]any{"seed": 1, "--validation_steps": 5}},
		{"a present name is new", map[string]any{"--validation_steps": json.Number("9"), "validation_step_interval": 5}, map[string]any{"validation_step_interval": 5}},
		{"the dataloader is plain", map[string]any{"--data_backend_config": "x.json"}, map[string]any{"data_backend_config": "x.json"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { assert.Equal(t, test.want, fold(test.sent, stored)) })
	}
}

func TestRepoint(t *testing.T) {
	options := map[string]any{"a": "old/x.json", "b": "config/old/y.json", "c": "older/x", "d": []any{"./old/z", "old"}, "e": "old.json", "f": 1}
	assert.Equal(t, map[string]any{"a": "new/x.json", "b": "config/new/y.json", "c": "older/x", "d": []any{"./new/z", "old"}, "e": "old.json", "f": 1},
		repoint(options, "old", "new"))
}

func TestNewFolderHasADefault(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "config"))
	assert.Equal(t, "default", s.ActiveName())
	assert.JSONEq(t, `{"--output_dir": "output/models", "--train_batch_size": 1, "--learning_rate": 0.0001, "--checkpoint_step_interval": 100,
		"--checkpoint_epoch_interval": null, "--seed": 42, "--resolution": 1024, "--mixed_precision": "bf16", "--gradient_checkpointing": true,
		"--use_ema": false}`, readFile(t, s, "default.json"))
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), "default.json"), []byte(`{"--seed": 1}`), 0o644))
	again := open(t, s.Dir())
	assert.Equal(t, json.Number("1"), options(t, again, "default")["--seed"], "an existing one stays")
}

func TestEnvironment(t *testing.T) {
	s := open(t, t.TempDir())
	e := environment(t, s, "pixart-api-demo")
	assert.Equal(t, filepath.Join(s.Dir(), "pixart-api-demo"), e.Path)
	assert.Equal(t, FilePlace{Path: "pixart-api-demo/multidatabackend.json", Absolute: filepath.Join(s.Dir(), "pixart-api-demo", "multidatabackend.json")}, e.Dataloader)
	assert.Equal(t, "pixart-api-demo/multidatabackend.json", e.Options["data_backend_config"])
	assert.Equal(t, "output/pixart-api-demo", e.Options["--output_dir"])
	assert.Equal(t, "full", e.Options["--model_type"])
	assert.Equal(t, json.Number("42"), e.Options["--seed"], "copied from default")
	assert.NotContains(t, e.Options, "--lora_type")
	assert.NotContains(t, e.Options, "--pretrained_model_name_or_path")

	assert.JSONEq(t, `[{"id": "pixart-api-demo-images", "type": "local", "dataset_type": "image", "instance_data_dir": "", "resolution": 1024,
		"resolution_type": "pixel_area", "caption_strategy": "textfile", "minimum_image_size": 256, "maximum_image_size": 4096,
		"target_downsample_size": 1024, "crop": true, "crop_style": "center", "crop_aspect": "square"},
		{"id": "pixart-api-demo-text-embeds", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": ""}]`,
		readFile(t, s, "pixart-api-demo/multidatabackend.json"))
	var metadata map[string]any
	require.NoError(t, json.Unmarshal([]byte(readFile(t, s, "pixart-api-demo/.metadata.json")), &metadata))
	assert.Equal(t, "PixArt 900M API-driven training", metadata["description"])
	assert.Equal(t, "900M-1024-v0.6", metadata["model_flavour"])
	assert.Nil(t, metadata["lora_type"])

	_, err := s.CreateEnvironment(EnvironmentRequest{Name: "pixart-api-demo.json", ModelFamily: "x"})
	assert.ErrorIs(t, err, ErrExists)
	assert.EqualError(t, err, "Environment 'pixart-api-demo' already exists")
}

func TestEnvironmentRequests(t *testing.T) {
	s := open(t, t.TempDir())
	writeFile(t, s, "shared/pictures.json", "[]")
	tests := []struct {
		name    string
		request EnvironmentRequest
		kind    error
		text    string
	}{
		{"lora by default", EnvironmentRequest{Name: "a", ModelFamily: "flux"}, nil, ""},
		{"existing dataloader", EnvironmentRequest{Name: "b", ModelFamily: "flux", NoDataloader: true, DataloaderPath: "config/shared/pictures.json"}, nil, ""},
		{"dataloader elsewhere", EnvironmentRequest{Name: "c", ModelFamily: "flux", DataloaderPath: "shared/c.json"}, nil, ""},
		{"example", EnvironmentRequest{Name: "d", ModelFamily: "flux", Example: "pixart.peft-lora"}, nil, ""},
		{"unknown example", EnvironmentRequest{Name: "e", Example: "nope"}, ErrNotFound, "Example 'nope' not found. Available examples: pixart.full, pixart.peft-lora"},
		{"dataloader missing", EnvironmentRequest{Name: "f", NoDataloader: true, DataloaderPath: "f.json"}, ErrNotFound, "Dataloader configuration not found: f.json"},
		{"dataloader exists", EnvironmentRequest{Name: "g", DataloaderPath: "shared/pictures.json"}, ErrExists, "Dataloader config already exists at 'shared/pictures.json'"},
		{"dataloader outside", EnvironmentRequest{Name: "h", DataloaderPath: "../h.json"}, ErrOutside, "Dataloader configs must live within the configs directory"},
		{"absolute dataloader outside", EnvironmentRequest{Name: "i", DataloaderPath: "/etc/i.json"}, ErrOutside, "Dataloader configs must live within the configs directory"},
		{"dataloader over a config", EnvironmentRequest{Name: "j", DataloaderPath: "a/config.json"}, ErrOutside, ""},
		{"dataloader without extension", EnvironmentRequest{Name: "k", DataloaderPath: "k"}, ErrOutside, ""},
		{"root-level file of the name", EnvironmentRequest{Name: "default"}, ErrExists, "Environment 'default' already exists"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := s.CreateEnvironment(test.request)
			if test.kind != nil {
				require.ErrorIs(t, err, test.kind)
				if test.text != "" {
					assert.EqualError(t, err, test.text)
				}
				assert.NoDirExists(t, filepath.Join(s.Dir(), test.request.Name), "nothing is left of what was refused")
				return
			}
			require.NoError(t, err)
			assert.FileExists(t, e.Dataloader.Absolute)
			assert.Equal(t, e.Dataloader.Path, options(t, s, test.request.Name)["data_backend_config"])
		})
	}
	assert.Equal(t, "standard", options(t, s, "a")["--lora_type"])
	assert.Equal(t, "lora", options(t, s, "a")["--model_type"])
	assert.Equal(t, "shared/pictures.json", options(t, s, "b")["data_backend_config"])
	assert.Equal(t, "pixart_sigma", options(t, s, "d")["model_family"], "the example decides")
	assert.Equal(t, "output/pixart.peft-lora", options(t, s, "d")["output_dir"])
	assert.Contains(t, readFile(t, s, "d/multidatabackend.json"), `"instance_data_dir": "datasets/subject"`)
}

func TestCreateUpdateDelete(t *testing.T) {
	s := open(t, t.TempDir())
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s.now = func() time.Time { at = at.Add(time.Second); return at }
	m, err := s.Create(Model, "one.json", object(t, `{"b": 2, "--a": "<token> é", "n": null}`), Details{Description: "first", Tags: []string{"x"}})
	require.NoError(t, err)
	assert.Equal(t, "one", m.Name)
	assert.Equal(t, "2026-01-02T03:04:06.000000+00:00", m.CreatedAt)
	assert.Equal(t, "{\n  \"--a\": \"<token> é\",\n  \"b\": 2,\n  \"n\": null\n}\n", readFile(t, s, "one.json"))
	assert.FileExists(t, filepath.Join(s.Dir(), "one.metadata.json"))
	_, err = s.Create(Model, "one", map[string]any{}, Details{})
	assert.EqualError(t, err, "Configuration 'one' already exists")

	updated, err := s.Update(Model, "one", object(t, `{"model_type": "lora"}`), Details{})
	require.NoError(t, err)
	assert.Equal(t, m.CreatedAt, updated.CreatedAt)
	assert.Greater(t, updated.ModifiedAt, m.ModifiedAt)
	assert.Equal(t, "first", *updated.Description, "an empty description leaves the old one")
	assert.Equal(t, []string{"x"}, updated.Tags)
	assert.Equal(t, "lora", *updated.ModelType)
	assert.JSONEq(t, `{"model_type": "lora"}`, readFile(t, s, "one.json"), "the whole configuration is replaced")
	_, err = s.Update(Model, "two", map[string]any{}, Details{})
	assert.EqualError(t, err, "Configuration 'two' not found")

	_, err = s.Activate("one")
	require.NoError(t, err)
	assert.ErrorIs(t, s.Delete(Model, "one"), ErrActive)
	_, err = s.Activate("default")
	require.NoError(t, err)
	require.NoError(t, s.Delete(Model, "one"))
	assert.ErrorIs(t, s.Delete(Model, "one"), ErrNotFound)
	assert.NoFileExists(t, filepath.Join(s.Dir(), "one.metadata.json"))
	environment(t, s, "env")
	require.NoError(t, s.Delete(Model, "env"))
	assert.NoDirExists(t, filepath.Join(s.Dir(), "env"))
	assert.Len(t, tree(t, s), 2, "default.json and the choice of the active one")
}

// The tutorial reads a configuration, adds options with jq and writes it back.
func TestReadAddWrite(t *testing.T) {
	s := open(t, t.TempDir())
	environment(t, s, "demo")
	for _, round := range []struct{ key, value, want string }{
		{"--train_batch_size", `2`, "2"}, {"--learning_rate", `0.0001`, "0.0001"}, {"train_batch_size", `4`, "4"}, {"--train_batch_size", `8`, "8"},
		{"--data_backend_config", `"demo/other.json"`, "demo/other.json"}, {"data_backend_config", `"demo/third.json"`, "demo/third.json"},
	} {
		d, err := s.Get(Model, "demo")
		require.NoError(t, err)
		config, ok := d.Shown().(map[string]any)
		require.True(t, ok)
		var value any
		require.NoError(t, json.Unmarshal([]byte(round.value), &value))
		config[round.key] = value
		_, err = s.Update(Model, "demo", config, Details{})
		require.NoError(t, err)
		stored := options(t, s, "demo")
		name := round.key
		if name[:2] == "--" {
			name = name[2:]
		}
		got, _ := lookup(stored, name)
		assert.EqualValues(t, round.want, got, round.key)
		_, plain := stored[name]
		_, dashed := stored["--"+name]
		assert.False(t, plain && dashed, "%s is stored once", round.key)
	}
}

func TestRenameAndCopy(t *testing.T) {
	s := open(t, t.TempDir())
	old := environment(t, s, "old")
	writeFile(t, s, "old/lycoris_config.json", `{"algo": "lokr"}`)
	writeFile(t, s, "old/prompts/library.json", `{"a": "b"}`)
	require.NoError(t, os.Symlink("multidatabackend.json", filepath.Join(s.Dir(), "old", "link.json")))
	_, err := s.Activate("old")
	require.NoError(t, err)
	m, err := s.Copy(Model, "old", "copy")
	require.NoError(t, err)
	assert.Equal(t, "Copy of PixArt 900M API-driven training", *m.Description)
	assert.Equal(t, "copy/multidatabackend.json", options(t, s, "copy")["data_backend_config"])
	assert.Equal(t, readFile(t, s, "old/link.json"), readFile(t, s, "copy/link.json"))
	assert.Equal(t, `{"a": "b"}`, readFile(t, s, "copy/prompts/library.json"))

	m, err = s.Rename(Model, "old", "new")
	require.NoError(t, err)
	assert.Equal(t, old.Metadata.CreatedAt, m.CreatedAt)
	assert.Equal(t, "new", s.ActiveName(), "the choice follows")
	assert.Equal(t, "new/multidatabackend.json", options(t, s, "new")["data_backend_config"])
	assert.NoDirExists(t, filepath.Join(s.Dir(), "old"))
	for _, do := range []func(kind Kind, name, other string) (Metadata, error){s.Rename, s.Copy} {
		_, err = do(Model, "old", "x")
		assert.ErrorIs(t, err, ErrNotFound)
		_, err = do(Model, "new", "copy")
		assert.ErrorIs(t, err, ErrExists)
		_, err = do(Model, "new", "a/b")
		assert.ErrorIs(t, err, ErrBadName)
		_, err = do(Model, "new", "new")
		assert.ErrorIs(t, err, ErrExists)
	}
	_, err = s.Create(Model, "flat", map[string]any{}, Details{})
	require.NoError(t, err)
	_, _, err = s.RegenerateDataloader("flat", "", true)
	require.NoError(t, err)
	_, err = s.Rename(Model, "flat", "level")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"data_backend_config": "flat/multidatabackend.json"}, options(t, s, "level"), "there it stays")
	assert.NoFileExists(t, filepath.Join(s.Dir(), "flat.metadata.json"))
}

func TestActiveSurvivesRestarts(t *testing.T) {
	s := open(t, t.TempDir())
	environment(t, s, "demo")
	_, err := s.Activate("demo")
	require.NoError(t, err)
	again := open(t, s.Dir())
	name, active, err := again.Active()
	require.NoError(t, err)
	assert.Equal(t, "demo", name)
	assert.Equal(t, "full", active["--model_type"])
	require.NoError(t, os.RemoveAll(filepath.Join(s.Dir(), "demo")))
	assert.Equal(t, "default", again.ActiveName(), "what is gone is not active")
	_, err = again.Activate("demo")
	assert.EqualError(t, err, "Configuration 'demo' not found")
	require.NoError(t, again.Save("default", map[string]any{"seed": json.Number("3")}))
	_, active, err = again.Active()
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"seed": json.Number("3")}, active)
	require.NoError(t, os.Remove(filepath.Join(s.Dir(), "default.json")))
	name, active, err = again.Active()
	require.NoError(t, err)
	assert.Empty(t, name)
	assert.Empty(t, active)
}
