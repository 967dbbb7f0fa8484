package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// Labels of the sessions that are SimpleTuner's jobs.
const (
	labelDialect     = "dialect"
	labelConfig      = "config"      // the resolved configuration, as JSON
	labelEnvironment = "environment" // the active one at the start
	labelWebhooks    = "webhooks"    // as JSON
	dialectName      = "simpletuner"
)

// trainingQueue lets jobs run one at a time; what they need of the machine is not known before they run.
const trainingQueue = "training"

// startWait bounds how long the start of a job waits for the disk.
const startWait = 30 * time.Second

func isTraining(s *sessions.Session) bool { return s.Labels()[labelDialect] == dialectName }

// submission is a form merged over the active environment, and what that means.
type submission struct {
	environment string // "": none is active
	options     simpletuner.Options
	translation *simpletuner.Translation
	problems    []string // when there is no translation
}

// options reads the form and merges it over the active environment.
func (s *Server) submitted(c *fiber.Ctx) (submission, error) {
	fields, err := readForm(c)
	if err != nil {
		return submission{}, err
	}
	options, control := simpletuner.FromForm(fields)
	sub := submission{options: options}
	if s.options.Configs == nil {
		return sub, nil
	}
	name, stored, err := s.options.Configs.Active()
	if err != nil {
		sub.problems = append(sub.problems, "the active environment cannot be read: "+err.Error())
		return sub, nil
	}
	sub.environment = name
	restored, lost := s.withSecrets(configs.Model, name, map[string]any(options))
	for _, f := range lost {
		sub.problems = append(sub.problems, "--"+receiversOption+": "+f.message)
	}
	options = restored.(map[string]any)
	sub.options = options
	if !control.ReplaceActiveConfig {
		sub.options = simpletuner.Fold(stored).Merge(options)
	}
	return sub, nil
}

// submission reads the form and translates it.
func (s *Server) submission(c *fiber.Ctx) (submission, error) {
	sub, err := s.submitted(c)
	if err != nil || len(sub.problems) > 0 {
		return sub, err
	}
	sub.translation, err = s.translate(sub.options, true)
	sub.problems = problemsOf(err)
	return sub, nil
}

// validateTraining tells whether a form, merged over the active environment, can be trained.
func (s *Server) validateTraining(c *fiber.Ctx) error {
	sub, err := s.submission(c)
	if err != nil {
		return err
	}
	switch t := sub.translation; {
	case len(sub.problems) > 0:
		return validationFailed(sub.problems).send(c)
	case len(t.Warnings)+len(t.Suggestions) > 0:
		return validationWarnings(t.Warnings, t.Suggestions, t.Notices).send(c)
	default:
		return configurationValid(t.Notices).send(c)
	}
}

// saveTraining writes the merged configuration into the active environment, also one that cannot be trained yet; but no
// values that options cannot have.
func (s *Server) saveTraining(c *fiber.Ctx) error {
	sub, err := s.submitted(c)
	if err != nil {
		return err
	}
	switch {
	case len(sub.problems) > 0:
		return saved(c, true, "Failed to save: "+sub.problems[0])
	case sub.environment == "":
		return saved(c, true, "Failed to save: no environment is active; activate one with POST /api/configs/NAME/activate")
	}
	if problems := problemsOf(simpletuner.CheckValues(sub.options)); len(problems) > 0 {
		return saved(c, true, "Failed to save: "+strings.Join(problems, "; "))
	}
	if err := s.options.Configs.Save(sub.environment, withoutDefaults(sub.options)); err != nil {
		s.options.Logger.Warn("environment cannot be saved", zap.String("environment", sub.environment), zap.Error(err))
		return saved(c, true, "Failed to save: "+err.Error())
	}
	return saved(c, false, "Configuration saved")
}

// alwaysSaved are the options that a saved configuration names even when they have their default.
var alwaysSaved = map[string]bool{"model_family": true, "model_type": true, "pretrained_model_name_or_path": true, "output_dir": true,
	"data_backend_config": true, "gradient_checkpointing": true}

// withoutDefaults is what a saved configuration holds.
func withoutDefaults(options simpletuner.Options) map[string]any {
	defaults := simpletuner.Defaults()
	kept := map[string]any{}
	for name, value := range options {
		if alwaysSaved[name] || !sameValue(value, defaults[name]) {
			kept[name] = value
		}
	}
	return kept
}

// sameValue compares as JSON does, in which 1 and 1.0 are one number.
func sameValue(a, b any) bool {
	plain := func(value any) any {
		data, err := json.Marshal(value)
		if err != nil {
			return value
		}
		var out any
		if json.Unmarshal(data, &out) != nil {
			return value
		}
		return out
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

// startTraining makes a job of a form merged over the active environment. The job starts when those before it have ended.
func (s *Server) startTraining(c *fiber.Ctx) error {
	sub, err := s.submission(c)
	if err != nil {
		return err
	}
	if len(sub.problems) > 0 {
		return cannotStart(sub.problems).send(c)
	}
	session, err := s.launch(sub)
	var invalid *job.Invalid
	switch {
	case errors.As(err, &invalid):
		return cannotStart(problemsOf(simpletuner.Respell(err))).send(c)
	case errors.Is(err, sessions.ErrRunFolderBusy):
		return trainingRejected(err.Error()).send(c)
	case err != nil:
		s.options.Logger.Error("training job cannot be started", zap.Error(err))
		return failedToStart(err.Error()).send(c)
	}
	notices := append(sub.translation.Warnings, sub.translation.Notices...)
	if sub.environment != "" {
		if err := s.options.Configs.Save(sub.environment, withoutDefaults(sub.options)); err != nil {
			s.options.Logger.Warn("environment cannot be saved", zap.String("environment", sub.environment), zap.Error(err))
			notices = append(notices, "The job runs, but its options could not be saved in the active environment: "+err.Error())
		}
	}
	if position := session.Snapshot().QueuePosition; position > 0 {
		return trainingQueued(session.ID(), fmt.Sprintf("Your job is queued at position %d.", position), notices).send(c)
	}
	return trainingStarting(session.ID(), notices).send(c)
}

// launch creates the session of a job, with its whole budget granted.
func (s *Server) launch(sub submission) (*sessions.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	config, err := json.Marshal(sub.translation.Resolved)
	if err != nil {
		return nil, fmt.Errorf("write configuration as JSON: %w", err)
	}
	webhooks, err := json.Marshal(sub.translation.Webhooks)
	if err != nil {
		return nil, fmt.Errorf("write webhooks as JSON: %w", err)
	}
	trained := sub.translation.Job
	trained.MaxSteps = &trained.Steps // makes the budget absolute when the job resumes
	for {
		session, err := s.options.Manager.Create(ctx, sessions.CreateRequest{
			ID: uuid.NewString()[:8], Job: trained, Grant: trained.Steps, Queue: trainingQueue,
			Labels: map[string]string{labelDialect: dialectName, labelConfig: string(config), labelEnvironment: sub.environment,
				labelWebhooks: string(webhooks)},
		})
		if !errors.Is(err, sessions.ErrExists) {
			return session, err
		}
	}
}

// currentJob is the job at work, else the newest one that has ended, else the one whose turn comes next; nil without jobs.
func (s *Server) currentJob() *sessions.Session {
	var atWork, ended, waiting *sessions.Session
	for _, session := range s.options.Manager.Sessions() {
		if !isTraining(session) {
			continue
		}
		switch now := session.Snapshot(); {
		case now.QueuePosition > 0:
			if waiting == nil {
				waiting = session
			}
		case now.State == sessions.Aborted && now.Attempt == 0:
			// It was cancelled before its turn.
		case now.Finished():
			ended = session
		default:
			atWork = session
		}
	}
	switch {
	case atWork != nil:
		return atWork
	case ended != nil:
		return ended
	}
	return waiting
}

// activeJob is the current job unless it has ended.
func (s *Server) activeJob() *sessions.Session {
	if session := s.currentJob(); session != nil && !session.Snapshot().Finished() {
		return session
	}
	return nil
}
