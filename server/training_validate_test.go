package server

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBoxes(t *testing.T) {
	const danger = `<div class="alert alert-danger"><h6><i class="fas fa-exclamation-triangle"></i> `
	for name, test := range map[string]struct {
		box  alert
		html string
	}{
		"valid": {configurationValid(nil), `<div class="alert alert-success"><h6><i class="fas fa-check-circle"></i> Configuration Valid</h6>` +
			`<p class="mb-0">All settings look good! Ready to start training.</p></div>`},
		"valid with a notice": {configurationValid([]string{"a & b"}), `<div class="alert alert-success"><h6><i class="fas fa-check-circle"></i> Configuration Valid</h6>` +
			`<p class="mb-0">All settings look good! Ready to start training.</p><ul class="mb-0 small text-muted"><li>a &amp; b</li></ul></div>`},
		"errors": {validationFailed([]string{"one", "<script>alert(1)</script>"}), danger + `Validation Failed</h6>` +
			`<ul class="mb-0"><li>one</li><li>&lt;script&gt;alert(1)&lt;/script&gt;</li></ul></div>`},
		"warnings": {validationWarnings([]string{"careful"}, []string{"try this"}, nil), `<div class="alert alert-warning"><h6><i class="fas fa-exclamation-circle"></i> Validation Warnings</h6>` +
			`<ul class="mb-2"><li>careful</li></ul><h6>Suggestions:</h6><ul class="mb-0"><li>try this</li></ul>` +
			`<small class="text-muted">You may proceed with training, but consider the remarks above.</small></div>`},
		"cannot start": {cannotStart([]string{"why"}), danger + `Cannot Start Training</h6><ul class="mb-0"><li>why</li></ul></div>`},
		"starting": {trainingStarting("ab12cd34", nil), `<div class="alert alert-info"><h6><i class="fas fa-cog fa-spin"></i> Training Starting</h6>` +
			`<p>Your training job is starting.</p><p class="mb-0"><small>Job ID: ab12cd34</small></p></div>`},
		"queued": {trainingQueued("ab12cd34", "Your job is queued at position 2.", nil), `<div class="alert alert-info"><h6><i class="fas fa-clock"></i> Training Queued</h6>` +
			`<p>Your job is queued at position 2.</p><p class="mb-0"><small>Job ID: ab12cd34</small></p></div>`},
		"rejected":      {trainingRejected("busy"), `<div class="alert alert-warning"><h6><i class="fas fa-exclamation-triangle"></i> Training Rejected</h6><p class="mb-0">busy</p></div>`},
		"failed":        {failedToStart("<disk>"), danger + `Failed to Start Training</h6><p class="mb-0">&lt;disk&gt;</p></div>`},
		"cancel failed": {failedToCancel("why"), danger + `Failed to Cancel Training</h6><p class="mb-0">why</p></div>`},
		"cancelled": {trainingCancelled("ab12cd34", "The job <stops>."), `<div class="alert alert-warning"><h6><i class="fas fa-hand-paper"></i> Training Cancelled</h6>` +
			`<p>The job &lt;stops&gt;.</p><p class="mb-0"><small>Job ID: ab12cd34</small></p></div>`},
		"nothing to cancel": {noActiveTraining(), `<div class="alert alert-info"><h6><i class="fas fa-info-circle"></i> No Active Training</h6>` +
			`<p class="mb-0">There is no active training job to cancel.</p></div>`},
	} {
		t.Run(name, func(t *testing.T) {
			var page strings.Builder
			require.NoError(t, alertTemplate.Execute(&page, test.box))
			assert.Equal(t, test.html, page.String())
		})
	}
}

const (
	neither = "Either num_train_epochs or max_train_steps must be greater than 0. You cannot set both to 0."
	both    = "num_train_epochs and max_train_steps cannot both be set. Set one of them to 0."
)

// validations are forms with changes, and what is said of them. The recorded server accepts nearly all of them.
var validations = map[string]struct {
	changes options
	heading string
	texts   []string
}{
	"as it is":                  {nil, "Configuration Valid", nil},
	"the other name":            {options{"model_family": "pixart"}, "Configuration Valid", nil},
	"bf16 of the tutorial":      {options{"base_model_precision": "bf16"}, "Configuration Valid", nil},
	"clip_skip of the tutorial": {options{"clip_skip": "2"}, "Configuration Valid", nil},
	"neither steps nor epochs":  {options{"max_train_steps": "0"}, "Validation Failed", []string{neither}},
	"steps and epochs":          {options{"num_train_epochs": "3"}, "Validation Failed", []string{both}},
	"steps and default epochs":  {options{"num_train_epochs": "None"}, "Validation Failed", []string{both}},
	"steps in words":            {options{"max_train_steps": "abc"}, "Validation Failed", []string{"--max_train_steps"}},
	"negative steps":            {options{"max_train_steps": "-5"}, "Validation Failed", []string{"--max_train_steps"}},
	"no output":                 {options{"output_dir": ""}, "Validation Failed", []string{"--output_dir", "Output directory is required."}},
	"output nobody can write":   {options{"output_dir": "/proc/x"}, "Validation Failed", []string{"--output_dir", "/proc/x cannot be written"}},
	"missing checkpoint":        {options{"resume_from_checkpoint": "checkpoint-999"}, "Validation Failed", []string{"--resume_from_checkpoint", "holds no checkpoint-999"}},
	"tiny resolution":           {options{"resolution": "64", "data_backend_config": "bare.json"}, "Validation Failed", []string{"--resolution"}},
	"huge resolution":           {options{"resolution": "8192", "data_backend_config": "bare.json"}, "Validation Warnings", []string{"--resolution"}},
	"quantised full tune":       {options{"base_model_precision": "int8-quanto"}, "Validation Failed", []string{"--base_model_precision"}},
	"unknown family":            {options{"model_family": "sd9"}, "Validation Failed", []string{"--model_family"}},
	"unknown type":              {options{"model_type": "partial"}, "Validation Failed", []string{"--model_type"}},
	"missing model":             {options{"pretrained_model_name_or_path": "nobody/nothing"}, "Validation Failed", []string{"--pretrained_model_name_or_path", "nobody/nothing"}},
	"empty model":               {options{"pretrained_model_name_or_path": ""}, "Validation Failed", []string{"--pretrained_model_name_or_path"}},
	"missing dataloader":        {options{"data_backend_config": "config/nope.json"}, "Validation Failed", []string{"--data_backend_config", "nope.json"}},
	"dataloader outside":        {options{"data_backend_config": "../../../etc/passwd"}, "Validation Failed", []string{"--data_backend_config"}},
	"batch of zero":             {options{"train_batch_size": "0"}, "Validation Failed", []string{"--train_batch_size"}},
	"batch in words":            {options{"train_batch_size": "many"}, "Validation Failed", []string{"--train_batch_size"}},
	"fast learning":             {options{"learning_rate": "fast"}, "Validation Failed", []string{"--learning_rate"}},
	"negative learning":         {options{"learning_rate": "-1"}, "Validation Failed", []string{"--learning_rate"}},
	"half a warm-up step":       {options{"lr_warmup_steps": "0.5"}, "Validation Failed", []string{"--lr_warmup_steps"}},
	"unknown scheduler":         {options{"lr_scheduler": "wave"}, "Validation Failed", []string{"--lr_scheduler"}},
	"unknown optimizer":         {options{"optimizer": "magic"}, "Validation Failed", []string{"--optimizer"}},
	"no accumulation":           {options{"gradient_accumulation_steps": "0"}, "Validation Failed", []string{"--gradient_accumulation_steps"}},
	"one beta":                  {options{"optimizer_beta1": "0.9"}, "Validation Failed", []string{"--optimizer_beta"}},
	"broken webhooks":           {options{"webhook_config": "[{"}, "Validation Failed", []string{"--webhook_config"}},
	"webhook without address":   {options{"webhook_config": `[{"webhook_type":"raw"}]`}, "Validation Failed", []string{"--webhook_config"}},
	"a script":                  {options{"validation_method": "external-script", "validation_external_script": "/bin/true"}, "Validation Failed", []string{"--validation_external_script"}},
	"a script that is missing":  {options{"validation_method": "external-script"}, "Validation Failed", []string{"--validation_external_script"}},
	"missing prompts":           {options{"user_prompt_library": "nope.json"}, "Validation Failed", []string{"--user_prompt_library"}},
	"LoRA of no rank":           {options{"model_type": "lora", "lora_rank": "0"}, "Validation Failed", []string{"--lora_rank"}},
	"unknown option":            {options{"no_such_option": "1"}, "Validation Warnings", []string{"--no_such_option"}},
	"two problems at once":      {options{"learning_rate": "fast", "train_batch_size": "0"}, "Validation Failed", []string{"--learning_rate", "--train_batch_size"}},
	"markup":                    {options{"model_family": "<script>alert(1)</script>"}, "Validation Failed", []string{"&lt;script&gt;"}},
	"markup in an unknown name": {options{"<script>": "1"}, "Validation Warnings", []string{"--&lt;script&gt;"}},
}

// Bad values are refused, or warned about, by the name of their option.
func TestValidate(t *testing.T) {
	a := serve(t, Options{})
	a.writeDataloader("bare.json", nil) // of pictures in the size of the option
	for name, test := range validations {
		t.Run(name, func(t *testing.T) {
			form := a.fastPath(test.changes)
			r := a.post("validate", form)
			require.Equal(t, http.StatusOK, r.status)
			assert.Equal(t, "text/html; charset=utf-8", r.header.Get("Content-Type"))
			assert.Contains(t, r.body, "</i> "+test.heading+"</h6>")
			for _, text := range test.texts {
				assert.Contains(t, r.body, text)
			}
			assert.NotContains(t, r.body, "<script>")
			assert.Equal(t, r.body, a.post("configuration/check", form).body, "the alias")
			if test.heading == "Validation Failed" {
				started := a.post("start", form)
				assert.Contains(t, started.body, "</i> Cannot Start Training</h6>", "start is as strict")
				assert.Equal(t, strings.Count(r.body, "<li>"), strings.Count(started.body, "<li>"), "and names the same")
			}
		})
	}
	assert.Empty(t, a.server.options.Manager.Sessions(), "nothing of this was started")
}

// A call with a tab and one option works from the saved environment, and start writes back what it used.
func TestActiveEnvironment(t *testing.T) {
	a := serve(t, Options{})
	environment := map[string]any{}
	for name, value := range a.fastPath(options{"max_train_steps": "3"}) {
		if name != "__active_tab__" && name != "num_train_epochs" {
			environment["--"+name] = value
		}
	}
	body := map[string]any{"name": "demo", "config": environment}
	require.Equal(t, http.StatusOK, a.request("POST", "/api/configs/", body, "Content-Type", mediaJSON).status)
	require.Equal(t, http.StatusOK, a.request("POST", "/api/configs/demo/activate", nil).status)

	assert.Contains(t, a.post("validate", options{"__active_tab__": "model"}).body, "cannot both be set", "one epoch is the default")
	assert.Contains(t, a.post("validate", options{"__active_tab__": "model", "num_train_epochs": "0"}).body, "Configuration Valid")
	r := a.post("config", options{"num_train_epochs": "0", "learning_rate": "2e-05"})
	assert.Contains(t, r.body, `<div class="text-success">`)
	assert.Contains(t, r.body, "Configuration saved")
	stored := a.storedEnvironment("demo")
	assert.Equal(t, 2e-05, stored["learning_rate"])
	assert.NotContains(t, stored, "--learning_rate", "spelled one way")

	id := a.start(options{"__active_tab__": "model", "validation_prompt": "a green square"})
	session, err := a.server.options.Manager.Session(id)
	require.NoError(t, err)
	assert.Equal(t, int64(3), session.Job().Steps)
	assert.Equal(t, 2e-05, session.Job().Engine.Optimizer.LR)
	assert.Equal(t, "a green square", a.storedEnvironment("demo")["validation_prompt"], "start writes the configuration back")
	assert.Equal(t, "demo", session.Labels()[labelEnvironment])

	form := a.fastPath(options{"__replace_active_config__": "true"})
	delete(form, "output_dir")
	assert.Contains(t, a.postPlain("validate", form).body, "Output directory is required.", "the environment is left out of it")
}

func (a *api) storedEnvironment(name string) map[string]any {
	a.t.Helper()
	return read[struct {
		Config map[string]any `json:"config"`
	}](a.t, a.request("GET", "/api/configs/"+name, nil), http.StatusOK).Config
}

func TestSavingWithoutRoom(t *testing.T) {
	a := serve(t, Options{})
	require.NoError(t, os.RemoveAll(filepath.Join(a.server.options.Configs.Dir(), "default.json")))
	r := a.post("config", a.fastPath(nil))
	assert.Contains(t, r.body, `<div class="text-danger">`)
	assert.Contains(t, r.body, "Failed to save: no environment is active")
}
