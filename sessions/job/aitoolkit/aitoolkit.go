// Package aitoolkit translates AI-Toolkit jobs (the config of its training API, and its job files in JSON or YAML) into
// job.Job. An option that this program knows is applied, refused by name where ignoring it would change the result, or
// reported in Job.Warnings where it is only a hint; unknown options are reported too.
package aitoolkit

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
	"github.com/stepd/stepd/sessions/job/paths"
)

// Roots are the folders that relative names in a job start from; empty: the working directory.
type Roots struct {
	Models   string
	Datasets string
	Outputs  string
	// Limit is where all files and folders of a job have to be; nil: anywhere.
	Limit *paths.Limit
}

// Translate turns a parsed document (maps, lists, strings, bools, numbers) into a checked Job. maxSteps caps the budget;
// nil: no cap. The error is a *job.Invalid that lists every problem, with fields as they are written in the document.
func Translate(document map[string]any, maxSteps *int64, roots Roots) (*job.Job, error) {
	t := &translation{roots: roots}
	process := t.process(substituteName(document))
	if process == nil {
		return nil, t.invalid()
	}
	j := t.job(process)
	if len(t.problems) > 0 {
		return nil, t.invalid()
	}
	j.MaxSteps = maxSteps
	sort.Strings(t.warnings)
	j.Warnings = t.warnings
	if err := j.Check(); err != nil {
		return nil, Respell(err)
	}
	if err := j.CheckPaths(roots.Limit.Check); err != nil {
		return nil, Respell(err)
	}
	return j, nil
}

// translation collects what is found on the way.
type translation struct {
	roots    Roots
	name     string
	meta     map[string]any
	problems []job.Problem
	warnings []string
}

const processField = "config.process[0]"

func (t *translation) refuse(field, format string, args ...any) {
	t.problems = append(t.problems, job.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

func (t *translation) warn(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

func (t *translation) invalid() error { return &job.Invalid{Problems: t.problems} }

// process checks the frame of the document and returns its only process.
func (t *translation) process(document map[string]any) map[string]any {
	if kind, given := document["job"]; !given {
		t.refuse("job", "is missing; a training job says \"extension\"")
	} else if kind != "extension" && kind != "train" {
		t.refuse("job", "is %v; a training job says \"extension\"", values.Show(document["job"]))
	}
	config, ok := document["config"].(map[string]any)
	if !ok {
		t.refuse("config", "is missing; it holds name and process")
		return nil
	}
	if t.name, ok = config["name"].(string); !ok || !job.ValidName(t.name) {
		t.refuse("config.name", "%v cannot be the name of a folder; use 1 to 200 characters without / \\ or control characters, not starting with a dot", values.Show(config["name"]))
	}
	t.meta, _ = document["meta"].(map[string]any)
	list, ok := config["process"].([]any)
	if !ok || len(list) == 0 {
		t.refuse("config.process", "config did not produce any processes; list one of type sd_trainer")
		return nil
	}
	if len(list) > 1 {
		t.refuse("config.process", "training API currently supports configs with exactly one process, this one has %d", len(list))
		return nil
	}
	process, ok := list[0].(map[string]any)
	if !ok {
		t.refuse(processField, "is not an object")
		return nil
	}
	if kind, _ := process["type"].(string); !slices.Contains([]string{"sd_trainer", "diffusion_trainer", "ui_trainer"}, kind) {
		t.refuse(processField+".type", "%v is not a process that trains here; use sd_trainer", values.Show(process["type"]))
	}
	return process
}

// job translates the process: the table of options first, then what the table cannot say.
func (t *translation) job(process map[string]any) *job.Job {
	settings := newSection(t, processField, process)
	j := &job.Job{Name: t.name, Metadata: metadata(t.meta)}
	settings.use("type")
	applyOptions(settings, j)
	j.Output = resolve(t.roots.Outputs, settings.text("training_folder", ""))
	if j.Output == "" {
		t.refuse(processField+".training_folder", "is missing; name the folder for run folders")
	}
	trigger := settings.text("trigger_word", "")
	t.model(settings, j)
	t.precision(settings, j)
	t.network(settings, j)
	t.optimizer(settings, j)
	t.objective(settings, j)
	t.average(settings, j)
	t.datasets(settings, j, trigger)
	t.samples(settings, j, trigger)
	t.save(settings, j)
	t.unsupported(settings)
	settings.reportUnknown()
	return j
}

func (t *translation) model(s *section, j *job.Job) {
	path := s.text("model.name_or_path", "")
	if path == "" {
		t.refuse(processField+".model.name_or_path", "is missing; name a model folder in the diffusers layout")
		return
	}
	j.Engine.Model = resolve(t.roots.Models, path)
	j.Engine.Device = "cpu"
	switch arch, _, _ := strings.Cut(s.text("model.arch", ""), ":"); arch {
	case "":
		for _, flag := range []string{"is_pixart", "is_pixart_sigma"} {
			if s.flag("model."+flag, false) {
				j.Engine.Family = "pixart"
			}
		}
	case "pixart", "pixart_sigma":
		j.Engine.Family = "pixart"
	default:
		t.refuse(processField+".model.arch", "%q is not a family that this version trains; it trains pixart_sigma", arch)
	}
	j.Engine.TextTokens = int(s.integer("model.max_sequence_length", 300, 1, 4096))
}

func (t *translation) precision(s *section, j *job.Job) {
	switch dtype := s.text("train.dtype", "fp32"); dtype {
	case "fp32", "float32", "float":
		j.Engine.DType, j.Engine.WeightDType = "fp32", "fp32"
	case "bf16", "bfloat16":
		j.Engine.DType, j.Engine.WeightDType = "bf16", "fp32"
		if strings.EqualFold(s.text("train.optimizer", "adamw"), "adamw_bf16") && !s.has("network") {
			j.Engine.WeightDType = "bf16"
		}
	default:
		t.refuse(processField+".train.dtype", "%q is not supported; use bf16 or fp32", dtype)
	}
}

func (t *translation) average(s *section, j *job.Job) {
	if !s.flag("train.ema_config.use_ema", false) {
		s.use("train.ema_config.ema_decay")
		return
	}
	j.Engine.EMA = emaOf(s.number("train.ema_config.ema_decay", 0.999, 0, 1))
}

func (t *translation) save(s *section, j *job.Job) {
	names := map[string]string{"float16": "fp16", "fp16": "fp16", "bf16": "bf16", "bfloat16": "bf16", "float32": "fp32", "fp32": "fp32", "float": "fp32"}
	written := s.text("save.dtype", "float16")
	dtype, ok := names[written]
	if !ok {
		t.refuse(processField+".save.dtype", "%q is not supported; use float16, bf16 or float32", written)
	}
	if format := s.text("save.save_format", "diffusers"); format != "diffusers" && format != "safetensors" {
		t.refuse(processField+".save.save_format", "%q is not supported; use safetensors or diffusers", format)
	}
	j.Save.DType, j.Save.Style = dtype, job.StyleAIToolkit
}

// resolve makes a relative path start at root.
func resolve(root, path string) string {
	if path == "" || filepath.IsAbs(path) || root == "" {
		return path
	}
	return filepath.Join(root, path)
}

// Respell renames the fields of a Job in a *job.Invalid to those of the document, where the table knows them.
func Respell(err error) error {
	invalid, ok := err.(*job.Invalid)
	if !ok {
		return err
	}
	for i, p := range invalid.Problems {
		switch p.Field {
		case "output":
			invalid.Problems[i].Field = processField + ".training_folder"
		case "engine.model":
			invalid.Problems[i].Field = processField + ".model.name_or_path"
		}
		if strings.HasPrefix(p.Field, "datasets[") && strings.HasSuffix(p.Field, "].folder") {
			invalid.Problems[i].Field = processField + "." + p.Field + "_path"
		}
		for _, option := range job.Options {
			if option.Path == p.Field && option.AIToolkit.Name != "" {
				invalid.Problems[i].Field = processField + "." + option.AIToolkit.Name
			}
		}
	}
	return invalid
}
