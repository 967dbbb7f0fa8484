package server

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job/aitoolkit"
)

func TestRunFolders(t *testing.T) {
	outputs := filepath.Join(t.TempDir(), "outputs")
	require.NoError(t, os.MkdirAll(filepath.Join(outputs, "run"), 0o755))
	require.NoError(t, os.Symlink("/etc", filepath.Join(outputs, "away")))
	require.NoError(t, os.Symlink("run", filepath.Join(outputs, "near")))
	a := serve(t, Options{Roots: aitoolkit.Roots{Outputs: outputs}})
	a.create("one") // whose folder is elsewhere
	elsewhere := filepath.Join(a.files.Output, "run-one")
	for dir, status := range map[string]int{
		"run": 200, "near": 200, "not/there/yet": 200, "./run/../run": 200, filepath.Join(outputs, "run"): 200, elsewhere: 200,
		"..": 400, "../outputs2": 400, "run/../../outputs2": 400, "/etc": 400, "/": 400, "away": 400, "away/ssl": 400,
		filepath.Join(outputs, "away"): 400, outputs + "2": 400, filepath.Dir(elsewhere): 400, elsewhere + "/..": 400,
		strings.Repeat("../", 1000) + "etc": 400, "run\x00": 422, strings.Repeat("n", 300): 400,
	} {
		for _, path := range []string{"/api/training/checkpoints", "/api/training/checkpoints/validate/checkpoint-1"} {
			r := a.request("GET", path+"?output_dir="+url.QueryEscape(dir), nil)
			assert.Equal(t, status, r.status, "%s %q: %s", path, clip(dir), r.body)
			if status != http.StatusOK {
				assert.Contains(t, r.body, "output_dir", "%s %q", path, clip(dir))
			}
		}
		if status != http.StatusUnprocessableEntity {
			form := a.request("POST", "/api/training/checkpoints", url.Values{"output_dir": {dir}}.Encode(), "Content-Type", mediaForm)
			assert.Equal(t, status, form.status, "%q: %s", clip(dir), form.body)
		}
	}
	assert.NoDirExists(t, filepath.Join(outputs, "not"), "asking makes no folder")
}
