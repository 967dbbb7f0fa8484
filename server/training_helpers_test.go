package server

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
)

// options are fields of a form, without their dashes.
type options map[string]string

// fastPath is the tutorial's form of a run without an environment, with the fixture's model and pictures.
func (a *api) fastPath(changes options) options {
	a.t.Helper()
	a.writeDataloader("once.json", map[string]any{"resolution": 64, "resolution_type": "pixel"})
	form := options{"__active_tab__": "model", "model_family": "pixart_sigma", "model_type": "full", "model_flavour": "900M-1024-v0.6",
		"pretrained_model_name_or_path": a.files.Engine.Model, "output_dir": filepath.Join(a.files.Output, "inline-demo"),
		"data_backend_config": "config/once.json", "train_batch_size": "1", "learning_rate": "0.0001", "max_train_steps": "12",
		"num_train_epochs": "0", "validation_prompt": "a red square", "validation_resolution": "128x128", "validation_num_inference_steps": "4",
		"disable_benchmark": "true", "seed": "7"}
	maps.Copy(form, changes)
	return form
}

// writeDataloader writes a dataloader of the fixture's pictures, whose entry has more fields.
func (a *api) writeDataloader(name string, fields map[string]any) {
	a.t.Helper()
	pictures := map[string]any{"id": "pictures", "type": "local", "dataset_type": "image", "instance_data_dir": a.files.Datasets[0].Folder,
		"caption_strategy": "textfile"}
	maps.Copy(pictures, fields)
	data, err := json.Marshal([]map[string]any{pictures, {"id": "text", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": "cache"}})
	require.NoError(a.t, err)
	require.NoError(a.t, os.WriteFile(filepath.Join(a.server.options.Configs.Dir(), name), data, 0o644))
}

// post sends a form as curl -F does.
func (a *api) post(path string, form options) reply {
	a.t.Helper()
	dashed := options{}
	for name, value := range form {
		if name != "__active_tab__" && name != "job_id" {
			name = "--" + name
		}
		dashed[name] = value
	}
	body, kind := multipartForm(a.t, dashed)
	return a.request("POST", "/api/training/"+path, body, "Content-Type", kind)
}

// multipartForm is a form as browsers and curl send it, and its content type.
func multipartForm(t testing.TB, fields options) (body, kind string) {
	t.Helper()
	var text bytes.Buffer
	writer := multipart.NewWriter(&text)
	for name, value := range fields {
		require.NoError(t, writer.WriteField(name, value))
	}
	require.NoError(t, writer.Close())
	return text.String(), writer.FormDataContentType()
}

var jobID = regexp.MustCompile(`Job ID: ([0-9a-f]{8})</small>`)

// start starts a job and returns its id.
func (a *api) start(form options) string {
	a.t.Helper()
	r := a.post("start", form)
	require.Equal(a.t, http.StatusOK, r.status)
	found := jobID.FindStringSubmatch(r.body)
	require.NotNil(a.t, found, r.body)
	return found[1]
}

func (a *api) trainingStatus() trainingState {
	a.t.Helper()
	return read[trainingState](a.t, a.request("GET", "/api/training/status", nil), http.StatusOK)
}

// waitState waits for a state of a job.
func (a *api) waitState(id string, states ...sessions.State) {
	a.t.Helper()
	a.wait(id, func(s sessions.Snapshot) bool {
		for _, state := range states {
			if s.State == state {
				return true
			}
		}
		return false
	})
}

// happening is an event of the list.
type happening map[string]any

func (o happening) data(key string) any {
	data, _ := o["data"].(map[string]any)
	return data[key]
}

// listed is the answer of /api/training/events.
type listed struct {
	Events []happening `json:"events"`
	JobID  *string     `json:"job_id"`
	Next   *int64      `json:"next_index"`
	Error  string      `json:"error"`
}

func (a *api) eventsSince(query string) listed {
	a.t.Helper()
	return read[listed](a.t, a.request("GET", "/api/training/events"+query, nil), http.StatusOK)
}

func havingType(events []happening, kind string) (found []happening) {
	for _, e := range events {
		if e["type"] == kind {
			found = append(found, e)
		}
	}
	return found
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	return ctx
}

// soon tries a condition again until it holds.
func soon(t testing.TB, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, testTimeout, 5*time.Millisecond, what)
}

// postPlain sends a form whose names are as they are, urlencoded.
func (a *api) postPlain(path string, form options) reply {
	a.t.Helper()
	values := url.Values{}
	for name, value := range form {
		values.Set(name, value)
	}
	return a.request("POST", "/api/training/"+path, values.Encode(), "Content-Type", mediaForm)
}
