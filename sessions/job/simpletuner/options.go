package simpletuner

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/job"
)

// Options are settings by name without dashes. Values are strings (forms) or what JSON gives: string, bool, json.Number,
// list, object. A nil value takes the option out again when it is merged over others.
type Options map[string]any

// renamed are old names of options.
var renamed = map[string]string{
	"save_total_limit": "checkpoints_total_limit", "save_every_n_steps": "checkpoint_step_interval",
	"checkpointing_steps": "checkpoint_step_interval", "maximum_caption_length": "tokenizer_max_length",
	"project_name": "tracker_project_name", "webhooks_config": "webhook_config", "validation_steps": "validation_step_interval",
}

// forgotten are names that the original takes and drops.
func forgotten(name string) bool {
	return name == "repeats" || strings.HasPrefix(name, "aspect_ratio_bucketing")
}

// Fold makes "--x" and "x" one option ("--x" wins) and renames old names, whose present name wins.
func Fold(raw map[string]any) Options {
	folded, rank := Options{}, map[string]int{}
	for written, value := range raw {
		name, dashed := strings.CutPrefix(strings.TrimSpace(written), "--")
		if name == "" || forgotten(name) {
			continue
		}
		strength := 1
		if now, old := renamed[name]; old {
			name, strength = now, strength-1
		}
		if name == "vae_cache_preprocess" {
			if on, ok := asBool(value); ok && !on {
				value = true
			} else if ok {
				value = false
			}
			name, strength = "vae_cache_ondemand", 0
		}
		strength *= 2
		if dashed {
			strength++
		}
		if before, seen := rank[name]; !seen || strength > before {
			folded[name], rank[name] = value, strength
		}
	}
	return folded
}

// IsConfig tells whether a parsed document is a SimpleTuner configuration, as opposed to another dialect's job.
func IsConfig(document map[string]any) bool {
	options := Fold(document)
	return options["model_family"] != nil || options["data_backend_config"] != nil
}

// Merge returns o with over's options over it; nil values of over take options out.
func (o Options) Merge(over Options) Options {
	merged := maps.Clone(o)
	if merged == nil {
		merged = Options{}
	}
	for name, value := range over {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = value
		}
	}
	return merged
}

// Control holds the fields of a form that are not options.
type Control struct {
	ActiveTab string
	// Disabled options are taken out when the form is merged over saved ones; FromForm has set them to nil.
	Disabled []string
	// ReplaceActiveConfig asks not to merge over the active environment.
	ReplaceActiveConfig bool
}

// control fields that have no influence.
var ignoredControl = map[string]bool{
	"merge_environment_config": true, "configs_dir": true, "preserve_defaults": true, "create_backup": true,
}

// FromForm reads the fields of a form. Numbers, flags and JSON texts become what a JSON document would hold, where they
// are well-formed; Translate names those that are not.
func FromForm(form map[string][]string) (Options, Control) {
	var control Control
	raw := map[string]any{}
	for field, texts := range form {
		if len(texts) == 0 {
			continue
		}
		name := strings.TrimPrefix(field, "--")
		last := texts[len(texts)-1]
		switch {
		case name == "__active_tab__":
			control.ActiveTab = last
		case name == "__disabled_fields__":
			for _, text := range texts {
				control.Disabled = append(control.Disabled, splitList(text)...)
			}
		case name == "__replace_active_config__":
			control.ReplaceActiveConfig, _ = asBool(last)
		case strings.HasPrefix(name, "__") || ignoredControl[name]:
		default:
			raw[field] = formValue(present(name), texts)
		}
	}
	options := Fold(raw)
	for i, name := range control.Disabled {
		control.Disabled[i] = present(strings.TrimPrefix(name, "--"))
		if !required[control.Disabled[i]] {
			options[control.Disabled[i]] = nil
		}
	}
	return options, control
}

// required options stay when a form disables them.
var required = map[string]bool{
	"model_family": true, "model_type": true, "pretrained_model_name_or_path": true, "output_dir": true, "data_backend_config": true,
}

// PresentName is the name of an option that may be given by an old one.
func PresentName(name string) string { return present(name) }

// present is the present name of an option.
func present(name string) string {
	if now, old := renamed[name]; old {
		return now
	}
	return name
}

// formValue types what was written by the table. A checkbox comes twice (hidden false and true); of other repeated
// fields that are no lists the last one that is not empty counts.
func formValue(name string, texts []string) any {
	row, known := rows[name]
	if known && row.Kind == job.Texts && len(texts) > 1 {
		list := make([]any, len(texts))
		for i, text := range texts {
			list[i] = text
		}
		return list
	}
	text := ""
	for _, t := range texts {
		if on, ok := asBool(t); known && row.Kind == job.Bool && ok && on {
			return true
		}
		if strings.TrimSpace(t) != "" {
			text = t
		}
	}
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "None":
		return nil
	case trimmed == "":
		return cleared(name)
	case known && row.Kind == job.Bool:
		if on, ok := asBool(trimmed); ok {
			return on
		}
	case known && (row.Kind == job.Int || row.Kind == job.Float):
		if isNumber(trimmed) {
			return json.Number(trimmed)
		}
	case known && row.Kind == job.Object:
		var document any
		if strings.IndexAny(trimmed, "{[") == 0 && decode([]byte(trimmed), &document) == nil {
			return document
		}
	}
	return text
}

// cleared is what an emptied field means: zero for the counts that a run needs, an empty text where that says something,
// and for all others that the option is not set.
func cleared(name string) any {
	switch name {
	case "num_train_epochs", "max_train_steps", "lr_warmup_steps", "gradient_accumulation_steps", "train_batch_size":
		return json.Number("0")
	case "model_flavour", "optimizer_config", "output_dir", "tracker_project_name", "tracker_run_name", "pretrained_model_name_or_path":
		return ""
	}
	return nil
}

// isNumber tells whether text is a number as JSON spells them.
func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || '0' <= text[0] && text[0] <= '9') && json.Valid([]byte(text))
}

func decode(data []byte, into any) error {
	decoder := json.NewDecoder(strings.NewReader(strings.TrimPrefix(string(data), "\ufeff")))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errTrailing
	}
	return nil
}

func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// CheckValues tells which options have values that they cannot have, whatever else the configuration lacks. The error is a
// *job.Invalid with every problem.
func CheckValues(options Options) error {
	folded := Fold(options)
	var problems []job.Problem
	for _, name := range slices.Sorted(maps.Keys(folded)) {
		row, known := rows[name]
		if !known {
			continue
		}
		if _, err := row.parse(folded[name], true); err != nil {
			problems = append(problems, job.Problem{Field: "--" + name, Message: err.Error()})
		}
	}
	if len(problems) > 0 {
		return &job.Invalid{Problems: problems}
	}
	return nil
}
