package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// finding is one thing wrong with a configuration; the message names the field as well.
type finding struct {
	field, message string
	unsupported    bool // right in itself, but this version cannot do it
}

// verdict is what there is to say about a configuration.
type verdict struct {
	// errors keep it from being stored.
	errors []finding
	// deferred are errors that do not: what is missing now may be there when a training starts.
	deferred              []finding
	warnings, suggestions []string
}

// judge says what is wrong with a configuration; thorough is as for translate.
func (s *Server) judge(kind configs.Kind, config any, thorough bool) *verdict {
	object, _ := config.(map[string]any)
	switch kind {
	case configs.Dataloader:
		return s.judgeDatasets(config)
	case configs.Webhook:
		return judgeWebhook(object)
	case configs.Lycoris:
		return judgeLycoris(object)
	}
	return s.judgeOptions(object, thorough)
}

// judgeSent judges a configuration that is to be stored under a name, with the secrets that it has marks for put back.
func (s *Server) judgeSent(kind configs.Kind, name string, config any) (any, *verdict) {
	config, lost := s.withSecrets(kind, name, config)
	if len(lost) > 0 {
		return config, &verdict{errors: lost}
	}
	return config, s.judge(kind, config, false)
}

// judgeDatasets has no errors that keep a dataloader from being stored: a new one is filled in bit by bit.
func (s *Server) judgeDatasets(config any) *verdict {
	datasets, isList := config.([]any)
	if !isList {
		return &verdict{errors: []finding{{message: "a dataloader is a list of datasets"}}}
	}
	v := &verdict{}
	translation, err := simpletuner.CheckDatasets(datasets, s.simpleTunerRoots())
	v.remark(translation)
	v.deferred = findings(err)
	return v
}

func (v *verdict) remark(t *simpletuner.Translation) {
	if t != nil {
		v.warnings, v.suggestions = append(v.warnings, t.Warnings...), append(v.suggestions, t.Suggestions...)
	}
}

// findings lists every reason why a job or a part of it was refused.
func findings(err error) []finding {
	var invalid *job.Invalid
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &invalid):
		return []finding{{message: err.Error()}}
	}
	all := make([]finding, len(invalid.Problems))
	for i, p := range invalid.Problems {
		all[i] = finding{p.Field, p.String(), simpletuner.Unsupported(p)}
		if p.Field == "" {
			all[i].message = p.Message
		}
	}
	return all
}

// problemsOf lists the same as texts.
func problemsOf(err error) []string { return texts(findings(err)) }

// elsewhere are options whose problems lie outside of the configuration: files, folders and commands of this machine, the
// number of pictures, and models of families that this version does not train.
var elsewhere = []string{
	"data_backend_config", "init_lora", "lycoris_config", "model_family", "model_flavour", "num_train_epochs", "output_dir",
	"post_checkpoint_script", "post_upload_script", "pretrained_model_name_or_path", "user_prompt_library",
	"validation_external_script", "webhook_config",
}

// judgeOptions lets the options be translated. What this version cannot do may be stored, with a warning, as may options of
// other families, which mean other things there.
func (s *Server) judgeOptions(options map[string]any, thorough bool) *verdict {
	folded := simpletuner.Fold(options)
	translation, err := s.translate(folded, thorough)
	v := &verdict{}
	v.remark(translation)
	all := findings(err)
	foreign := folded["model_family"] != nil && slices.ContainsFunc(all, func(f finding) bool { return f.field == "--model_family" })
	for _, f := range all {
		name, isOption := strings.CutPrefix(f.field, "--")
		_, given := folded[name]
		if isOption && given && !foreign && !f.unsupported && !slices.Contains(elsewhere, name) {
			v.errors = append(v.errors, f)
		} else {
			v.deferred = append(v.deferred, f)
		}
	}
	return v
}

// receiverCheckWait bounds how long DNS may take over all receivers of a job.
const receiverCheckWait = 3 * time.Second

// translate turns options into a job with what this server knows and allows. A thorough one also reads the pictures where
// the number of steps depends on them, looks at the output folder, and asks DNS for the receivers of events.
func (s *Server) translate(options simpletuner.Options, thorough bool) (*simpletuner.Translation, error) {
	options, notices := s.jobReceivers(options)
	request := simpletuner.Request{Options: options, Roots: s.simpleTunerRoots(), Script: s.options.Script, CheckOutput: thorough}
	if thorough {
		request.Prober = s.options.Prober
	}
	if thorough && s.options.CheckReceiver != nil {
		ctx, cancel := context.WithTimeout(context.Background(), receiverCheckWait)
		defer cancel()
		request.Receiver = func(w job.Webhook) []job.Problem { return s.options.CheckReceiver(ctx, w) }
	}
	translation, err := simpletuner.Translate(request)
	if err == nil {
		translation.Notices = append(translation.Notices, notices...)
	}
	return translation, err
}

func (s *Server) simpleTunerRoots() simpletuner.Roots {
	r := s.options.Roots
	roots := simpletuner.Roots{Models: r.Models, Datasets: r.Datasets, Outputs: r.Outputs, Limit: r.Limit}
	if s.options.Configs != nil {
		roots.Configs = s.options.Configs.Dir()
	}
	return roots
}

// refusal is the 422 answer that lists every error, or nil.
func (v *verdict) refusal(config any) error {
	if len(v.errors) == 0 {
		return nil
	}
	object, _ := config.(map[string]any)
	object = changeOption(object, hideSecrets)
	problems := make(Problems, len(v.errors))
	for i, f := range v.errors {
		input, sent := object[f.field]
		if !sent {
			input = object[strings.TrimPrefix(f.field, "--")]
		}
		problems[i] = Problem{Type: "value_error", Loc: []any{"body", "config", f.field}, Message: "Value error, " + f.message, Input: input}
	}
	return problems
}

func (v *verdict) report() fiber.Map {
	all := append(texts(v.errors), texts(v.deferred)...)
	return fiber.Map{"is_valid": len(all) == 0, "errors": all, "warnings": list(v.warnings), "suggestions": list(v.suggestions)}
}

// advice is the "validation" of a configuration that was stored.
func (v *verdict) advice(notes []string) fiber.Map {
	return fiber.Map{"warnings": append(append(texts(v.deferred), v.warnings...), notes...), "suggestions": list(v.suggestions)}
}

func texts(findings []finding) []string {
	all := make([]string, len(findings))
	for i, f := range findings {
		all[i] = f.message
	}
	return all
}

// list is never null in JSON.
func list(items []string) []string { return append([]string{}, items...) }

func isNotFound(err error) bool { return errors.Is(err, configs.ErrNotFound) }
