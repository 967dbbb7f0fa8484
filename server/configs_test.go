package server

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/configs"
)

// answer is any JSON object.
type answer = map[string]any

func (a *api) ok(method, path string, body any) answer {
	a.t.Helper()
	return read[answer](a.t, a.request(method, path, body), http.StatusOK)
}

func (a *api) file(name string) string {
	a.t.Helper()
	data, err := os.ReadFile(filepath.Join(a.server.options.Configs.Dir(), name))
	require.NoError(a.t, err)
	return string(data)
}

func (a *api) put(name, text string) {
	a.t.Helper()
	file := filepath.Join(a.server.options.Configs.Dir(), name)
	require.NoError(a.t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(a.t, os.WriteFile(file, []byte(text), 0o644))
}

func keys(object answer) (names []string) {
	for name := range object {
		names = append(names, name)
	}
	return names
}

var metadataKeys = []string{"name", "description", "model_family", "model_type", "model_flavour", "lora_type", "created_at", "modified_at", "tags",
	"is_template", "parent_template"}

// environment makes an environment of the tutorial.
func (a *api) environment(name string) answer {
	a.t.Helper()
	return a.ok("POST", "/api/configs/environments", answer{"name": name, "model_family": "pixart_sigma", "model_flavour": "900M-1024-v0.6",
		"model_type": "full", "description": "PixArt 900M API-driven training"})
}

// tutorialOptions are those that the tutorial's PixArt example adds.
const tutorialOptions = `{
      "--output_dir": "/workspace/output/pixart900m",
      "--train_batch_size": 2,
      "--gradient_accumulation_steps": 2,
      "--learning_rate": 0.0001,
      "--optimizer": "adamw_bf16",
      "--lr_scheduler": "cosine",
      "--lr_warmup_steps": 500,
      "--max_train_steps": 1800,
      "--num_train_epochs": 0,
      "--validation_prompt": "a studio portrait of <token> wearing a leather jacket",
      "--validation_guidance": 3.8,
      "--validation_resolution": "1024x1024",
      "--validation_num_inference_steps": 28,
      "--cache_dir_vae": "/data/cache/vae/pixart",
      "--seed": 1337,
      "--resume_from_checkpoint": "latest",
      "--base_model_precision": "bf16",
      "--dataloader_prefetch": true,
      "--report_to": "none",
      "--checkpoints_total_limit": 4,
      "--validation_seed": 12345,
      "--data_backend_config": "pixart-api-demo/multidatabackend.json"
    }`

// The PixArt example of the tutorial up to the start of the training.
func TestTutorialEnvironment(t *testing.T) {
	a := serve(t, Options{})
	created := a.environment("pixart-api-demo")
	assert.ElementsMatch(t, []string{"message", "environment", "config", "dataloader"}, keys(created))
	assert.Equal(t, "Environment 'pixart-api-demo' created", created["message"])
	assert.ElementsMatch(t, append(metadataKeys, "path"), keys(created["environment"].(answer)))
	dir := a.server.options.Configs.Dir()
	assert.Equal(t, answer{"path": "pixart-api-demo/multidatabackend.json", "absolute_path": filepath.Join(dir, "pixart-api-demo/multidatabackend.json")}, created["dataloader"])
	a.put("pixart-api-demo/multidatabackend.json", `[{"id": "pixart-camera", "type": "local", "dataset_type": "image", "instance_data_dir": "/data/x"}]`)

	read := a.ok("GET", "/api/configs/pixart-api-demo", nil)
	assert.ElementsMatch(t, []string{"name", "config", "metadata", "config_type"}, keys(read))
	config := read["config"].(answer)
	assert.Equal(t, config["data_backend_config"], config["--data_backend_config"])
	var added answer
	require.NoError(t, json.Unmarshal([]byte(tutorialOptions), &added))
	for key, value := range added {
		config[key] = value
	}
	updated := a.ok("PUT", "/api/configs/pixart-api-demo", answer{"name": "pixart-api-demo", "description": "PixArt 900M full tune (API)",
		"tags": []string{"pixart", "api"}, "config": config})
	assert.Equal(t, "Configuration 'pixart-api-demo' updated successfully", updated["message"])
	assert.Equal(t, []any{"pixart", "api"}, updated["metadata"].(answer)["tags"])
	assert.Equal(t, "PixArt 900M full tune (API)", updated["metadata"].(answer)["description"])
	assert.Contains(t, updated["validation"], "warnings")

	config = a.ok("GET", "/api/configs/pixart-api-demo", nil)["config"].(answer)
	for key, value := range added {
		assert.Equal(t, value, config[key], key)
		if key != "--data_backend_config" {
			assert.NotContains(t, config, strings.TrimPrefix(key, "--"), "one spelling is left")
		}
	}
	assert.Equal(t, "pixart_sigma", config["--model_family"])
	assert.Equal(t, answer{"message": "Configuration 'pixart-api-demo' is now active", "active": "pixart-api-demo"},
		a.ok("POST", "/api/configs/pixart-api-demo/activate", nil))
	assert.Equal(t, "pixart-api-demo", a.ok("GET", "/api/configs/active", nil)["name"])
	listed := a.ok("GET", "/api/configs/?config_type=model", nil)
	assert.Equal(t, "pixart-api-demo", listed["active"])
	assert.Equal(t, 2.0, listed["count"])
	entry := listed["configs"].([]any)[1].(answer)
	assert.Equal(t, "full", entry["model_type"])
	assert.Equal(t, true, entry["has_dataloader"])
	export := a.ok("GET", "/api/configs/pixart-api-demo/export", nil)
	assert.ElementsMatch(t, []string{"_metadata", "config"}, keys(export))
}

// The tutorial's Flux Kontext example can be stored, though this version does not train it.
func TestTutorialKontext(t *testing.T) {
	a := serve(t, Options{})
	a.ok("POST", "/api/configs/environments", answer{"name": "kontext-api-demo", "model_family": "flux", "model_flavour": "kontext", "model_type": "lora",
		"lora_type": "lycoris", "description": "Flux Kontext LoRA via API"})
	config := a.ok("GET", "/api/configs/kontext-api-demo", nil)["config"].(answer)
	added := answer{"--optimizer": "optimi-lion", "--base_model_precision": "int8-quanto", "--report_to": "wandb", "--lora_rank": 16,
		"--conditioning_multidataset_sampling": "combined", "--clip_skip": 2, "--max_train_steps": 12000, "--num_train_epochs": 0}
	for key, value := range added {
		config[key] = value
	}
	updated := a.ok("PUT", "/api/configs/kontext-api-demo", answer{"name": "kontext-api-demo", "config": config})
	assert.Contains(t, strings.Join(stringsOf(updated["validation"].(answer)["warnings"]), "\n"), `--model_family: "flux" is not a family`)
	verdict := a.ok("POST", "/api/configs/kontext-api-demo/validate", nil)
	assert.Equal(t, false, verdict["is_valid"])
	assert.Equal(t, "kontext-api-demo", verdict["name"])
}

func stringsOf(value any) (all []string) {
	for _, item := range value.([]any) {
		all = append(all, item.(string))
	}
	return all
}

func TestConfigLifecycle(t *testing.T) {
	a := serve(t, Options{})
	created := a.ok("POST", "/api/configs/", answer{"name": "one.json", "description": "first", "tags": []string{"t"},
		"config": answer{"--model_family": "pixart", "train_batch_size": 2}, "colour": "red"})
	assert.Equal(t, "Configuration 'one' created successfully", created["message"])
	assert.ElementsMatch(t, metadataKeys, keys(created["metadata"].(answer)))
	assert.Contains(t, created["validation"].(answer)["warnings"], "colour is not a field of this request; it has no effect")
	assert.FileExists(t, filepath.Join(a.server.options.Configs.Dir(), "one.json"))

	assert.Equal(t, "Configuration 'one' copied to 'two'", a.ok("POST", "/api/configs/one/copy", answer{"target_name": "two"})["message"])
	renamed := a.ok("POST", "/api/configs/two/rename", answer{"new_name": "three"})
	assert.Equal(t, "Configuration renamed from 'two' to 'three'", renamed["message"])
	assert.Equal(t, "three", renamed["metadata"].(answer)["name"])
	bare := a.ok("GET", "/api/configs/three/export?include_metadata=false", nil)
	assert.Equal(t, answer{"--model_family": "pixart", "train_batch_size": 2.0}, bare)
	export := a.ok("GET", "/api/configs/one/export", nil)
	assert.Equal(t, "Configuration imported as 'four'", a.ok("POST", "/api/configs/import", answer{"data": export, "name": "four"})["message"])
	assert.Equal(t, bare, a.ok("GET", "/api/configs/four", nil)["config"])
	assert.Equal(t, []any{"t"}, a.ok("GET", "/api/configs/four", nil)["metadata"].(answer)["tags"])
	assert.Regexp(t, `^Configuration imported as 'imported_\d{8}_\d{6}'$`, a.ok("POST", "/api/configs/import", answer{"data": bare})["message"])
	a.ok("POST", "/api/configs/import", answer{"data": answer{"seed": 1}, "name": "four", "overwrite": true})
	assert.Equal(t, answer{"seed": 1.0}, a.ok("GET", "/api/configs/four", nil)["config"])
	fromTemplate := a.ok("POST", "/api/configs/from-template", answer{"template_name": "pixart.full", "config_name": "five"})
	assert.Equal(t, "pixart.full", fromTemplate["metadata"].(answer)["parent_template"])
	assert.Equal(t, answer{"message": "Configuration 'four' deleted successfully"}, a.ok("DELETE", "/api/configs/four", nil))

	assert.Equal(t, 2.0, a.ok("GET", "/api/configs/templates", nil)["count"])
	assert.Regexp(t, `^[a-z]+-[a-z]+$`, a.ok("GET", "/api/configs/project-name", nil)["name"])
	examples := a.ok("GET", "/api/configs/examples", nil)
	assert.Equal(t, 2.0, examples["count"])
	assert.ElementsMatch(t, []string{"name", "description", "defaults", "config_path", "dataloader_path", "has_dataloader"},
		keys(examples["examples"].([]any)[0].(answer)))
	assert.Equal(t, answer{"configs": []any{}, "active": nil, "count": 0.0, "config_type": "webhook"}, a.ok("GET", "/api/configs/?config_type=webhook", nil))
}

var longName = strings.Repeat("a", 201)

var configRefusals = []struct {
	method, path string
	body         any
	status       int
	detail       string
}{
	{"GET", "/api/configs/nope", nil, 404, "Configuration 'nope' not found"},
	{"GET", "/api/configs/..", nil, 404, "Configuration '..' not found"},
	{"GET", "/api/configs/..%2Fetc", nil, 404, "Not Found"},
	{"GET", "/api/configs/a%00b", nil, 404, "not found"},
	{"GET", "/api/configs/" + longName, nil, 404, "not found"},
	{"GET", "/api/configs/environments", nil, 404, "Configuration 'environments' not found"},
	{"GET", "/api/configs/one?config_type=dataloader", nil, 404, "Configuration 'one' not found"},
	{"GET", "/api/configs/broken", nil, 422, "Invalid JSON in configuration 'broken'"},
	{"GET", "/api/configs/list", nil, 422, "not a JSON object"},
	{"PUT", "/api/configs/nope", answer{"name": "nope", "config": answer{}}, 404, "Configuration 'nope' not found"},
	{"DELETE", "/api/configs/nope", nil, 404, "Configuration 'nope' not found"},
	{"DELETE", "/api/configs/a%20b", nil, 400, "may only contain"},
	{"DELETE", "/api/configs/default", nil, 400, "Cannot delete the active configuration"},
	{"POST", "/api/configs/", answer{"name": "", "config": answer{}}, 400, "Configuration name is required"},
	{"POST", "/api/configs/", answer{"name": "a/b", "config": answer{}}, 400, "Configuration name may only contain letters, numbers, '.', '_' or '-'"},
	{"POST", "/api/configs/", answer{"name": "..", "config": answer{}}, 400, "may only contain"},
	{"POST", "/api/configs/", answer{"name": longName, "config": answer{}}, 400, "longer than 200"},
	{"POST", "/api/configs/", answer{"name": "active", "config": answer{}}, 400, "reserved"},
	{"POST", "/api/configs/", answer{"name": "one", "config": answer{}}, 409, "Configuration 'one' already exists"},
	{"POST", "/api/configs/environments", answer{"name": "env", "model_family": "x"}, 409, "Environment 'env' already exists"},
	{"POST", "/api/configs/environments", answer{"name": "e", "model_family": ""}, 400, "model_family is required"},
	{"POST", "/api/configs/environments", answer{"name": "..", "model_family": "x"}, 400, "may only contain"},
	{"POST", "/api/configs/environments", answer{"name": "e", "model_family": "x", "example": "nope"}, 404, "Available examples: pixart.full"},
	{"POST", "/api/configs/environments", answer{"name": "e", "model_family": "x", "create_dataloader": false}, 400, "dataloader_path is required"},
	{"POST", "/api/configs/environments", answer{"name": "e", "model_family": "x", "dataloader_path": "../../x.json"}, 400, "must live within"},
	{"POST", "/api/configs/nope/activate", nil, 404, "Configuration 'nope' not found"},
	{"POST", "/api/configs/nope/validate", nil, 404, "Configuration 'nope' not found"},
	{"GET", "/api/configs/nope/export", nil, 404, "Configuration 'nope' not found"},
	{"POST", "/api/configs/nope/copy", answer{"target_name": "x"}, 404, "Configuration 'nope' not found"},
	{"POST", "/api/configs/one/copy", answer{"target_name": "env"}, 409, "Configuration 'env' already exists"},
	{"POST", "/api/configs/one/rename", answer{"new_name": "default"}, 409, "Configuration 'default' already exists"},
	{"POST", "/api/configs/import", answer{"data": answer{}, "name": "one"}, 409, "Configuration 'one' already exists"},
	{"POST", "/api/configs/import", answer{"data": answer{"_metadata": answer{}}, "name": "x"}, 422, "no config"},
	{"POST", "/api/configs/import", answer{"data": answer{"_metadata": answer{}, "config": 3}, "name": "x"}, 422, "is an object"},
	{"POST", "/api/configs/from-template", answer{"template_name": "nope", "config_name": "x"}, 404, "Template 'nope' not found"},
	{"POST", "/api/configs/from-template", answer{"template_name": "pixart.full", "config_name": "one"}, 409, "already exists"},
	{"POST", "/api/configs/nope/dataloader", answer{}, 404, "Configuration 'nope' not found"},
	{"POST", "/api/configs/env/dataloader", answer{"path": "../x.json"}, 400, "must live within"},
	{"POST", "/api/configs/env/dataloader", answer{"path": "one.json"}, 409, "not a dataloader"},
	{"GET", "/api/configs/data-backend-file?path=../../etc/passwd", nil, 400, "Resolved path is outside allowed directories"},
	{"GET", "/api/configs/data-backend-file?path=/etc/passwd", nil, 400, "Resolved path is outside allowed directories"},
	{"GET", "/api/configs/data-backend-file?path=notes.txt", nil, 400, "not the file of a dataloader"},
	{"GET", "/api/configs/data-backend-file?path=nope.json", nil, 404, "Data backend config file not found: nope.json"},
	{"GET", "/api/configs/dataloader/content?path=broken/config.json", nil, 422, "Invalid JSON"},
	{"GET", "/api/configs/environments/env/lycoris", nil, 404, "No Lycoris configuration found for environment 'env'"},
	{"GET", "/api/configs/environments/nope/lycoris", nil, 404, "No Lycoris configuration found for environment 'nope'"},
	{"PUT", "/api/configs/environments/nope/lycoris", answer{"config": answer{"algo": "lokr"}}, 404, "Environment 'nope' not found"},
	{"GET", "/api/configs/webhooks/nope", nil, 404, "Webhook configuration 'nope' not found"},
	{"DELETE", "/api/configs/webhooks/nope", nil, 404, "Webhook configuration 'nope' not found"},
	{"POST", "/api/configs/webhooks/nope/test", nil, 404, "Webhook configuration 'nope' not found"},
	{"POST", "/api/configs/nope", answer{}, 405, "Method Not Allowed"},
}

func TestConfigRefusals(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	a.ok("POST", "/api/configs/", answer{"name": "one", "config": answer{}})
	a.put("broken/config.json", `{"a": `)
	a.put("list/config.json", `[]`)
	a.put("notes.txt", "secret")
	for _, test := range configRefusals {
		r := a.request(test.method, test.path, test.body)
		assert.Contains(t, read[map[string]string](t, r, test.status)["detail"], test.detail, "%s %s", test.method, test.path)
	}
	assert.Equal(t, 5.0, a.ok("GET", "/api/configs/", nil)["count"], "nothing is left of what was refused; what is broken is listed")
}

func TestConfigFieldProblems(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	tests := []struct {
		method, path string
		body         any
		kinds        []string
		field        string // of the first
	}{
		{"POST", "/api/configs/", `{"name": "x"`, []string{"json_invalid"}, ""},
		{"POST", "/api/configs/", `[]`, []string{"model_attributes_type"}, ""},
		{"POST", "/api/configs/", `{"name": "x", "name": "y"}`, []string{"json_invalid"}, ""},
		{"POST", "/api/configs/", answer{}, []string{"missing", "missing"}, "name"},
		{"POST", "/api/configs/", answer{"name": 3, "config": []any{}, "tags": "x"}, []string{"string_type", "list_type", "dict_type"}, "name"},
		{"POST", "/api/configs/", answer{"name": "x", "config": answer{}, "tags": []any{1}}, []string{"string_type"}, "tags"},
		{"POST", "/api/configs/?config_type=nonsense", answer{"name": "x", "config": answer{}}, []string{"enum"}, "config_type"},
		{"GET", "/api/configs/?config_type=nonsense", nil, []string{"enum"}, "config_type"},
		{"POST", "/api/configs/?config_type=dataloader", answer{"name": "x", "config": answer{}}, []string{"list_type"}, "config"},
		{"PUT", "/api/configs/env", answer{"name": "env"}, []string{"missing"}, "config"},
		{"PUT", "/api/configs/env", answer{"name": "env", "config": answer{"--train_batch_size": "abc", "learning_rate": -1, "--model_type": "big"}},
			[]string{"value_error", "value_error", "value_error"}, "config"},
		{"POST", "/api/configs/environments", answer{"create_dataloader": "maybe"}, []string{"missing", "missing", "bool_parsing"}, "name"},
		{"POST", "/api/configs/env/dataloader", "", []string{"json_invalid"}, ""},
		{"POST", "/api/configs/env/rename", answer{}, []string{"missing"}, "new_name"},
		{"POST", "/api/configs/env/copy", answer{"target_name": 1}, []string{"string_type"}, "target_name"},
		{"POST", "/api/configs/import", answer{}, []string{"missing"}, "data"},
		{"POST", "/api/configs/from-template", answer{}, []string{"missing", "missing"}, "template_name"},
		{"GET", "/api/configs/env/export?include_metadata=perhaps", nil, []string{"bool_parsing"}, "include_metadata"},
		{"GET", "/api/configs/data-backend-file", nil, []string{"missing"}, "path"},
		{"POST", "/api/configs/validate", `3`, []string{"dict_type"}, ""},
		{"PUT", "/api/configs/environments/env/lycoris", answer{}, []string{"missing"}, "config"},
		{"PUT", "/api/configs/environments/env/lycoris", answer{"config": answer{"linear_dim": -1}}, []string{"value_error", "value_error"}, "config"},
		{"POST", "/api/configs/lycoris/validate", answer{}, []string{"missing"}, "config"},
		{"POST", "/api/configs/webhooks", answer{}, []string{"missing", "missing"}, "name"},
		{"PUT", "/api/configs/webhooks/x", answer{}, []string{"missing"}, "config"},
	}
	for _, test := range tests {
		problems := read[map[string][]Problem](t, a.request(test.method, test.path, test.body), http.StatusUnprocessableEntity)["detail"]
		var kinds []string
		for _, p := range problems {
			kinds = append(kinds, p.Type)
		}
		assert.Equal(t, test.kinds, kinds, "%s %s %v", test.method, test.path, problems)
		if test.field != "" {
			assert.Equal(t, test.field, problems[0].Loc[1], "%s %s", test.method, test.path)
		}
	}
	fields := []any{}
	for _, p := range read[map[string][]Problem](t, a.request("PUT", "/api/configs/env", tests[10].body), 422)["detail"] {
		fields = append(fields, p.Loc[2])
	}
	assert.Equal(t, []any{"--learning_rate", "--model_type", "--train_batch_size"}, fields, "every option is named")
}

func TestConfigValidation(t *testing.T) {
	a := serve(t, Options{})
	verdict := a.ok("POST", "/api/configs/validate", answer{"--num_train_epochs": 1, "--max_train_steps": 5, "colour": "red"})
	assert.Equal(t, false, verdict["is_valid"])
	errors := strings.Join(stringsOf(verdict["errors"]), "\n")
	assert.Contains(t, errors, "num_train_epochs and max_train_steps cannot both be set. Set one of them to 0.")
	assert.Contains(t, errors, "--model_family: is missing")
	assert.Contains(t, strings.Join(stringsOf(verdict["warnings"]), "\n"), "--colour is not an option")
	assert.Equal(t, true, a.ok("POST", "/api/configs/validate?config_type=lycoris", answer{"algo": "lokr"})["is_valid"])
	assert.Equal(t, false, a.ok("POST", "/api/configs/validate?config_type=webhook", answer{"webhook_type": "raw"})["is_valid"])
	r := read[answer](t, a.request("POST", "/api/configs/validate?config_type=dataloader", `[{"id": "a", "type": "local", "instance_data_dir": "/nowhere"}]`), 200)
	assert.Contains(t, strings.Join(stringsOf(r["errors"]), "\n"), "dataset a: instance_data_dir: /nowhere is not a folder")
}

// What this version cannot train may be stored, so that an existing environment can be edited; validation says what is wrong.
func TestUnsupportedOptionsAreStored(t *testing.T) {
	a := serve(t, Options{})
	config := answer{"model_family": "pixart", "model_type": "lora", "lora_type": "lycoris", "controlnet": true, "max_train_steps": 5, "num_train_epochs": 0}
	stored := a.ok("POST", "/api/configs/", answer{"name": "one", "config": config})
	verdict := a.ok("POST", "/api/configs/one/validate", nil)
	for _, said := range []any{stored["validation"].(answer)["warnings"], verdict["errors"]} {
		text := strings.Join(stringsOf(said), "\n")
		assert.Contains(t, text, `--lora_type: "lycoris" is not supported by this version`)
		assert.Contains(t, text, "--controlnet: true is not supported by this version")
	}
}

func TestRedirectOfConfigs(t *testing.T) {
	a := serve(t, Options{})
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/api/configs", "/api/configs?config_type=webhook"} {
		response, err := client.Get("http://" + a.address + path)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusTemporaryRedirect, response.StatusCode)
		assert.Equal(t, strings.Replace(path, "configs", "configs/", 1), response.Header.Get("Location"))
	}
}

func TestConcurrentWrites(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	var group sync.WaitGroup
	for i := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			seed := float64(i)
			r := a.request("PUT", "/api/configs/env", answer{"name": "env", "config": answer{"seed": seed, "--validation_seed": seed}})
			assert.Equal(t, http.StatusOK, r.status, r.body)
		}()
	}
	group.Wait()
	config := a.ok("GET", "/api/configs/env", nil)["config"].(answer)
	assert.Len(t, config, 2)
	assert.Equal(t, config["seed"], config["--validation_seed"], "the file is that of one request")
	entries, err := os.ReadDir(filepath.Join(a.server.options.Configs.Dir(), "env"))
	require.NoError(t, err)
	assert.Len(t, entries, 3, "no temporary file is left")
}

func TestExamplesCanBeTrained(t *testing.T) {
	a := serve(t, Options{})
	roots := &a.server.options.Roots
	roots.Models, roots.Datasets, roots.Outputs = t.TempDir(), t.TempDir(), t.TempDir()
	fixture.Model(t, filepath.Join(roots.Models, "terminusresearch", "pixart-900m-1024-ft-v0.6"))
	for _, folder := range []string{"pictures", "subject"} {
		require.NoError(t, os.MkdirAll(filepath.Join(roots.Datasets, "datasets", folder), 0o755))
	}
	examples, err := configs.Examples()
	require.NoError(t, err)
	for _, e := range examples {
		assert.NotEmpty(t, e.Description)
		a.ok("POST", "/api/configs/environments", answer{"name": e.Name, "model_family": "pixart_sigma", "example": e.Name})
		assert.Equal(t, answer{"name": e.Name, "is_valid": true, "errors": []any{}, "warnings": []any{}, "suggestions": []any{}},
			a.ok("POST", "/api/configs/"+e.Name+"/validate", nil))
	}
}
