package simpletuner

// scripts checks command lines; only those that the operator allows are taken.
func (t *translation) scripts() {
	for _, name := range []string{"validation_external_script", "post_upload_script", "post_checkpoint_script"} {
		command := t.text(name)
		if command == "" {
			continue
		}
		if t.request.Script == nil || !t.request.Script(command) {
			t.refuse(option(name), "%q is not a command that this server may start; start it with --allow-script for the program, or leave the option out", command)
		}
	}
	if t.text("validation_method") == "external-script" && t.text("validation_external_script") == "" {
		t.refuse(option("validation_external_script"), "is missing; validation_method=external-script needs it")
	}
}
