package simpletuner

import (
	"fmt"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/script"
)

// external tells whether a script takes the place of validation pictures.
func (t *translation) external() bool { return t.text("validation_method") == "external-script" }

// scripts takes the commands that the operator allows, with the values of their placeholders.
func (t *translation) scripts() {
	scripts := job.Scripts{Values: t.placeholders(), Checkpoint: t.script("post_checkpoint_script", nil), Upload: t.script("post_upload_script", nil)}
	const validation = "validation_external_script"
	switch {
	case t.external() && t.text(validation) == "":
		t.refuse(option(validation), "is missing; validation_method=external-script needs it")
	case t.external():
		scripts.Validation = t.script(validation, &job.Script{Background: t.flag("validation_external_background")})
		if t.flag("validation_disable") {
			scripts.Validation = nil
		}
	case t.set(validation):
		t.notice("%s has no effect without validation_method=external-script", option(validation))
	}
	if scripts.Validation != nil || scripts.Checkpoint != nil || scripts.Upload != nil {
		t.job.Scripts = &scripts
	}
}

// script reads the option of a command; nil: it is not set, or refused. like carries other settings.
func (t *translation) script(name string, like *job.Script) *job.Script {
	command := t.text(name)
	if command == "" {
		return nil
	}
	line, allowed := "", false
	if t.request.Script != nil {
		line, allowed = t.request.Script(command)
	}
	if !allowed {
		t.refuse(option(name), "%q is not a command that this server may start; start the server with --allow-script NAME=COMMAND and write the name or that "+
			"command here, or leave the option out", command)
		return nil
	}
	values := t.placeholders()
	argv, err := script.Parse(line, func(placeholder string) bool { _, known := values[placeholder]; return known })
	if err == nil {
		// What a run fills in itself begins with neither a dash nor anything else that an option could.
		for _, own := range []string{script.LocalCheckpointPath, script.GlobalStep, script.RemoteCheckpointPath} {
			values[own] = "0"
		}
		_, err = script.Expand(argv, values)
	}
	if err != nil {
		t.refuse(option(name), "%v", err)
		return nil
	}
	if like == nil {
		like = &job.Script{}
	}
	like.Command = argv
	return like
}

// placeholders are the values that are known before the run: names, the model, and every option of validations.
func (t *translation) placeholders() map[string]string {
	values := map[string]string{"huggingface_path": t.text("hub_model_id")}
	for _, name := range []string{"tracker_run_name", "tracker_project_name", "model_family", "model_type", "lora_type"} {
		values[name] = t.text(name)
	}
	for name := range rows {
		if !strings.HasPrefix(name, "validation_") {
			continue
		}
		values[name] = ""
		if value := t.value(name); value != nil {
			values[name] = fmt.Sprint(value)
		}
	}
	return values
}
