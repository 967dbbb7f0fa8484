package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
)

var environmentsFolder = flag.String("environments", "testdata/environments", "folder of environments, as SimpleTuner's examples")

// refusedOption begins what is said about an option, or about a field of a dataset.
var refusedOption = regexp.MustCompile(`^(--|dataset [^:]+: )[a-z0-9_]+(\[[^]]*\])*: `)

// TestEnvironmentsOfTheOriginal serves a folder of environments that SimpleTuner made, as the examples of its package, and
// works on each of them through every route. Those of the family that can be trained are valid, or refused by the names of
// their options; those of other families are refused by their family; a file that cannot be read is listed with the reason.
func TestEnvironmentsOfTheOriginal(t *testing.T) {
	a := serveEnvironments(t, *environmentsFolder)
	listed := map[string]answer{}
	for _, entry := range a.ok("GET", "/api/configs/", nil)["configs"].([]any) {
		listed[entry.(answer)["name"].(string)] = entry.(answer)
	}
	folders, err := fs.Glob(os.DirFS(*environmentsFolder), "*/config.json")
	require.NoError(t, err)
	require.NotEmpty(t, folders)
	for i, file := range folders {
		name := filepath.Dir(file)
		t.Run(name, func(t *testing.T) {
			entry := listed[name]
			require.NotNil(t, entry, "it is in the list")
			data, err := os.ReadFile(filepath.Join(*environmentsFolder, file))
			require.NoError(t, err)
			if !json.Valid(data) {
				assert.Contains(t, entry["error"], "Invalid JSON")
				r := a.request("GET", "/api/configs/"+url.PathEscape(name), nil)
				assert.Equal(t, http.StatusUnprocessableEntity, r.status)
				t.Log("is no JSON; said so")
				return
			}
			a.tryEnvironment(t, name, fmt.Sprintf("try-%d", i))
		})
	}
	assert.Empty(t, a.server.options.Manager.Sessions(), "none was started that cannot be trained")
}

// serveEnvironments serves a copy of a folder, with the fixture's model under the name of PixArt's.
func serveEnvironments(t *testing.T, folder string) *api {
	t.Helper()
	dir := t.TempDir()
	configs := filepath.Join(dir, "config")
	// Its files name each other as in a checkout, where the examples lie in config/examples.
	for _, to := range []string{configs, filepath.Join(configs, "examples")} {
		require.NoError(t, os.CopyFS(to, os.DirFS(folder)))
	}
	fixture.Model(t, filepath.Join(dir, "models", "terminusresearch", "pixart-900m-1024-ft-v0.6"))
	return serveIn(t, dir, Options{Roots: aitoolkit.Roots{Models: filepath.Join(dir, "models"), Datasets: dir}}, &fake.Engine{})
}

// tryEnvironment does with an environment what can be done with one; fresh is a free name.
func (a *api) tryEnvironment(t *testing.T, name, fresh string) {
	path := "/api/configs/" + url.PathEscape(name)
	config := a.ok("GET", path, nil)["config"].(answer)
	a.ok("POST", path+"/copy", answer{"target_name": fresh})
	assert.Len(t, a.ok("GET", "/api/configs/"+fresh, nil)["config"], len(config), "the copy has the same options")
	a.ok("POST", "/api/configs/import", answer{"name": fresh + "-again", "data": a.ok("GET", path+"/export", nil)})
	a.ok("PUT", "/api/configs/"+fresh, answer{"name": fresh, "config": config})
	a.ok("DELETE", "/api/configs/"+fresh+"-again", nil)
	a.ok("POST", "/api/configs/"+fresh+"/activate", nil)

	judged := a.ok("POST", path+"/validate", nil)
	errors := stringsOf(judged["errors"])
	family, _ := config["model_family"].(string)
	if dashed, ok := config["--model_family"].(string); ok {
		family = dashed
	}
	switch trained := family == "pixart" || family == "pixart_sigma"; {
	case judged["is_valid"] == true:
		assert.True(t, trained, family)
		assert.Empty(t, errors)
	case trained:
		for _, text := range errors {
			assert.Regexp(t, refusedOption, text, "an option is named")
		}
	default:
		assert.True(t, slices.ContainsFunc(errors, func(text string) bool { return strings.HasPrefix(text, "--model_family: ") }), "%v", errors)
	}
	form := a.post("validate", options{})
	assert.Equal(t, http.StatusOK, form.status)
	assert.Equal(t, judged["is_valid"] == false, strings.Contains(form.body, "Validation Failed"), form.body)
	if judged["is_valid"] == false {
		assert.Contains(t, a.post("start", options{}).body, "Cannot Start Training")
		assert.Equal(t, len(errors), strings.Count(form.body, "<li>"), "%s\n%v", form.body, errors)
	}
	a.ok("POST", "/api/configs/default/activate", nil)
	a.ok("DELETE", "/api/configs/"+fresh, nil)
	t.Logf("%s: valid %v\n  %s", family, judged["is_valid"], strings.Join(errors, "\n  "))
}

// What is expected of the environments in testdata, one by one.
func TestEnvironmentsOfTestdata(t *testing.T) {
	a := serveEnvironments(t, "testdata/environments")
	for name, refused := range map[string][]string{"pixart.full": nil, "pixart.peft-lora": nil, "pixart.lycoris-lokr": {"--lora_type"},
		"pixart.peft-controlnet-lora": {"--controlnet"}} {
		var named []string
		for _, text := range stringsOf(a.ok("POST", "/api/configs/"+name+"/validate", nil)["errors"]) {
			option, _, _ := strings.Cut(text, ":")
			named = append(named, option)
		}
		assert.Equal(t, refused, named, name)
	}
}
