// Package simpletuner translates SimpleTuner's options and dataloader files into job.Job.
//
// Every option and every field of a dataset is one row of the tables in table_*.go and of job.Options, which say its type,
// default, range and what becomes of it: implemented, refused by name where ignoring it would change the result, or a
// remark where it is only a hint. docs/options.md is made from the tables.
package simpletuner

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
	"github.com/stepd/stepd/sessions/job/paths"
)

// Roots are the folders that relative names start from; empty: the working directory.
type Roots struct {
	Models   string
	Datasets string
	Outputs  string
	Configs  string // of dataloader files, prompt libraries and webhooks
	// Limit is where everything that a job names has to be, but files in Configs; nil: anywhere.
	Limit *paths.Limit
}

// Request is what to translate.
type Request struct {
	// Options are merged already: the saved environment, then the form.
	Options Options
	Roots   Roots
	// Script returns the command line that a client means, and whether the operator allows it, as script.Allow.Resolve
	// does; nil: none is allowed.
	Script func(command string) (line string, allowed bool)
	// Receiver lists what is wrong with a webhook, as notify.Service.Check does; nil: only its shape is checked.
	Receiver func(job.Webhook) []job.Problem
	// Prober reads picture sizes, which a run of whole epochs needs to know its number of steps; nil: such runs are refused.
	Prober dataset.Prober
	// CheckOutput also refuses an output folder that cannot be written, and a checkpoint that is not there.
	CheckOutput bool
}

// Translation is the outcome of Translate.
type Translation struct {
	Job *job.Job
	// Webhooks are kept out of Job, because they hold secrets.
	Webhooks []job.Webhook
	// Warnings name what the user should change.
	Warnings []string
	// Notices say what is done differently from what the option's name may suggest, or has no effect.
	Notices []string
	// Suggestions name what the user may want to set.
	Suggestions []string
	// Resolved is the complete configuration of the run, with defaults and without secrets.
	Resolved Options
}

// Translate checks options and files and turns them into a Job. The error is a *job.Invalid with every problem; fields
// are spelled "--option" or "dataset ID: field"; beside it, the Translation holds the remarks alone.
func Translate(request Request) (*Translation, error) {
	t := &translation{request: request, values: map[string]any{}, job: &job.Job{LogEvery: 1}}
	t.parse(Fold(request.Options))
	t.copyOptions()
	t.model()
	t.precision()
	t.adapter()
	t.optimizer()
	t.objective()
	t.flow()
	t.output()
	t.datasets()
	t.length()
	t.schedule()
	t.validation()
	t.evaluation()
	t.trackers()
	t.receivers()
	t.scripts()
	if len(t.problems) == 0 {
		t.check()
	}
	if len(t.problems) == 0 && t.job.Scheduled() {
		t.checkEpochs()
	}
	if len(t.problems) > 0 {
		sort.SliceStable(t.problems, func(i, k int) bool { return t.problems[i].Field < t.problems[k].Field })
		return &Translation{Warnings: t.warnings, Notices: t.notices, Suggestions: t.suggestions}, &job.Invalid{Problems: t.problems}
	}
	t.job.Warnings = append(append([]string(nil), t.warnings...), t.notices...)
	return &Translation{Job: t.job, Webhooks: t.webhooks, Warnings: t.warnings, Notices: t.notices,
		Suggestions: t.suggestions, Resolved: t.resolved()}, nil
}

// Unsupported tells whether a problem is that this version cannot do what is asked for, which is right in itself.
func Unsupported(p job.Problem) bool { return strings.Contains(p.Message, "by this version") }

// translation collects what is found on the way.
type translation struct {
	request  Request
	values   map[string]any // parsed; only options that are set
	job      *job.Job
	webhooks []job.Webhook
	// evaluated are the datasets of type eval.
	evaluated []job.Dataset

	problems    []job.Problem
	warnings    []string
	notices     []string
	suggestions []string
}

// option spells the field of an option.
func option(name string) string { return "--" + name }

func (t *translation) refuse(field, format string, args ...any) {
	t.problems = append(t.problems, job.Problem{Field: field, Message: fmt.Sprintf(format, args...)})
}

// refuseOnce keeps the first problem of a field that is looked at several times.
func (t *translation) refuseOnce(field, format string, args ...any) {
	if !t.hasField(field) {
		t.refuse(field, format, args...)
	}
}

// allowed refuses a path outside the folders that jobs may use, before anything of it is looked at.
func (t *translation) allowed(field, path string) bool {
	err := t.request.Roots.Limit.Check(path)
	if err != nil {
		t.refuse(field, "%v", err)
	}
	return err == nil
}

func (t *translation) hasField(field string) bool {
	return slices.ContainsFunc(t.problems, func(p job.Problem) bool { return p.Field == field })
}

func (t *translation) warn(format string, args ...any) {
	t.warnings = append(t.warnings, fmt.Sprintf(format, args...))
}

func (t *translation) notice(format string, args ...any) {
	t.notices = append(t.notices, fmt.Sprintf(format, args...))
}

func (t *translation) suggest(format string, args ...any) {
	t.suggestions = append(t.suggestions, fmt.Sprintf(format, args...))
}

// parse checks every option against its row.
func (t *translation) parse(options Options) {
	given := make([]string, 0, len(options))
	for name := range options {
		given = append(given, name)
	}
	sort.Strings(given)
	for _, name := range given {
		row, known := rows[name]
		if !known {
			t.unknown(name)
			continue
		}
		value, ok := t.read(row, option(name), options[name], true)
		if ok && value != nil {
			t.values[name] = value
		}
	}
	for _, name := range sortedKeys(rows) {
		need, conditional := needs[name]
		if conditional && t.set(name) && rows[name].changes(t.values[name]) && fmt.Sprint(t.value(need.option)) != need.value {
			t.notice("%s has no effect without %s=%s", option(name), option(need.option), need.value)
		}
	}
}

func (t *translation) unknown(name string) {
	if slices.ContainsFunc(foreign, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		t.notice("%s belongs to another model family; it has no effect", short(option(name)))
		return
	}
	t.warn("%s is not an option that this program knows; it has no effect", short(option(name)))
}

// short bounds a name that may be anything.
func short(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}

// read checks one value against its row and says what becomes of it.
func (t *translation) read(row Row, field string, value any, isForm bool) (any, bool) {
	parsed, err := row.parse(value, isForm)
	if err != nil {
		t.refuse(field, "%v", err)
		return nil, false
	}
	if parsed == nil || row.Support == Implemented || !row.changes(parsed) {
		return parsed, true
	}
	switch row.Support {
	case Refused:
		remedy := row.Remedy
		if remedy == "" {
			remedy = "leave it out"
		}
		t.refuse(field, "%s is not supported by this version (%s); %s", values.Show(value), row.Doc, remedy)
		return nil, false
	case Unserved:
		t.warn("%s is not done by this version (%s)", field, row.Doc)
	case Hint:
		t.notice("%s has no effect here (%s)", field, row.Doc)
	}
	return parsed, true
}

// value is that of an option or its default.
func (t *translation) value(name string) any {
	if value, ok := t.values[name]; ok {
		return value
	}
	return rows[name].Default
}

func (t *translation) set(name string) bool { return t.values[name] != nil }

func (t *translation) text(name string) string {
	text, _ := t.value(name).(string)
	return text
}

func (t *translation) flag(name string) bool {
	on, _ := t.value(name).(bool)
	return on
}

func (t *translation) number(name string) float64 {
	number, _ := values.Number(t.value(name))
	return number
}

func (t *translation) integer(name string) int64 { return int64(t.number(name)) }

// copyRows applies the rows of a table that are plain copies.
func copyRows(table map[string]Row, value func(name string) any, target any) error {
	document := map[string]any{}
	for name, row := range table {
		if row.path == "" {
			continue
		}
		if v := value(name); v != nil {
			values.Put(document, row.path, v)
		}
	}
	return values.Apply(document, target)
}

func (t *translation) copyOptions() {
	if err := copyRows(rows, t.value, t.job); err != nil {
		t.refuse("options", "cannot be applied: %v", err)
	}
}

// check lets the job check itself.
func (t *translation) check() { t.take(t.job.Check()) }

// take adds the problems of the job to those of the options; it tells whether err is about such.
func (t *translation) take(err error) bool {
	var invalid *job.Invalid
	if !errors.As(Respell(err), &invalid) {
		return false
	}
	for _, problem := range invalid.Problems {
		problem.Field = t.respellDataset(problem.Field)
		t.problems = append(t.problems, problem)
	}
	return true
}

// respellDataset names a field "datasets[0].…" as the dataloader file does.
func (t *translation) respellDataset(field string) string {
	datasets, prefix := t.job.Datasets, "datasets"
	if t.job.Evaluation != nil && strings.HasPrefix(field, "evaluation.") {
		datasets, prefix = t.job.Evaluation.Datasets, "evaluation.datasets"
	}
	for i, d := range datasets {
		path, inside := strings.CutPrefix(field, fmt.Sprintf("%s[%d].", prefix, i))
		if !inside {
			continue
		}
		for name, row := range fields {
			if row.path == path {
				path = name
				break
			}
		}
		return "dataset " + d.ID + ": " + path
	}
	return field
}

// made are the fields of a Job that are made of an option without being a plain copy of it.
var made = map[string]string{
	"name": "output_dir", "output": "output_dir", "steps": "max_train_steps", "engine.model": "pretrained_model_name_or_path",
	"engine.text_tokens": "tokenizer_max_length", "engine.adapter.rank": "lora_rank", "engine.adapter.alpha": "lora_alpha",
	"engine.adapter.dropout": "lora_dropout", "engine.adapter.init": "init_lora", "engine.optimizer.name": "optimizer",
	"engine.optimizer.params.beta1": "optimizer_beta1", "engine.optimizer.params.beta2": "optimizer_beta2",
	"engine.optimizer.params.eps": "optimizer_config", "engine.optimizer.params.weight_decay": "optimizer_config",
	"engine.schedule.name": "lr_scheduler", "engine.schedule.cycles": "lr_num_cycles", "engine.ema.decay": "ema_decay",
	"engine.clip.norm": "max_grad_norm", "engine.clip.value": "max_grad_norm", "engine.noise.offset": "noise_offset",
	"evaluation.every": "eval_steps_interval", "evaluation.every_epochs": "eval_epoch_interval",
	"evaluation.timesteps": "eval_timesteps", "evaluation.pictures": "num_eval_images",
}

// Respell renames the fields of a Job in a *job.Invalid to options, where the table knows them.
func Respell(err error) error {
	var invalid *job.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	for i, problem := range invalid.Problems {
		if name, ok := made[problem.Field]; ok {
			invalid.Problems[i].Field = option(name)
		}
		for name, row := range rows {
			if row.path == problem.Field {
				invalid.Problems[i].Field = option(name)
			}
		}
	}
	return err
}

// secrets are options whose values do not leave the server.
var secrets = map[string]bool{"webhook_config": true, "publishing_config": true}

func (t *translation) resolved() Options {
	all := Defaults()
	for name, value := range t.values {
		all[name] = value
	}
	for name := range secrets {
		if _, isPath := all[name].(string); !isPath {
			delete(all, name)
		}
	}
	all["seed"] = t.job.Engine.Seed
	all["max_train_steps"] = t.job.Steps
	all["output_dir"] = t.job.RunDir()
	if t.job.Engine.Adapter == nil {
		for _, name := range []string{"lora_type", "lora_rank", "lora_alpha", "lora_dropout"} {
			delete(all, name)
		}
	}
	return all
}
