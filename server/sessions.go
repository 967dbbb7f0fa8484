package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
)

// createWait is how long POST /sessions waits for the first pause, and deleteWait how long DELETE waits for the worker.
const (
	createWait = 30 * time.Minute
	deleteWait = 12 * time.Second
)

// status is the state of a session as AI-Toolkit's clients read it; every key is always present.
type status struct {
	SessionID          string   `json:"session_id"`
	Status             string   `json:"status"`
	CurrentEpoch       int64    `json:"current_epoch"`
	CurrentStep        int64    `json:"current_step"`
	AllowedSteps       int64    `json:"allowed_steps"`
	CompletedSteps     int64    `json:"completed_steps"`
	RemainingSteps     int64    `json:"remaining_steps"`
	LastStepIndex      *int64   `json:"last_step_index"`
	MaxSteps           *int64   `json:"max_steps"`
	Finished           bool     `json:"finished"`
	Error              *string  `json:"error"`
	LastCheckpointStep int64    `json:"last_checkpoint_step"`
	LastCheckpointPath *string  `json:"last_checkpoint_path"`
	Warnings           []string `json:"warnings"`
	// Stage names long work between steps ("load", "encode_images"), with its progress; Loss is that of the last step.
	Stage      string   `json:"stage"`
	StageDone  int64    `json:"stage_done"`
	StageTotal int64    `json:"stage_total"`
	Loss       *float64 `json:"loss"`
}

func statusOf(s sessions.Snapshot) status {
	out := status{
		SessionID: s.ID, Status: string(s.State), CurrentEpoch: s.Epoch, CurrentStep: s.Completed,
		AllowedSteps: s.Allowed, CompletedSteps: s.Completed, RemainingSteps: s.Remaining(), MaxSteps: s.MaxSteps,
		Finished: s.Finished(), LastCheckpointStep: s.LastCheckpointStep(), Warnings: s.Warnings,
		Stage: s.Stage.Stage, StageDone: s.Stage.Done, StageTotal: s.Stage.Total,
	}
	if s.Completed > 0 {
		last := s.Completed - 1
		out.LastStepIndex = &last
	}
	if s.LastStep != nil {
		out.Loss = &s.LastStep.Loss
	}
	if s.Error != "" {
		out.Error = &s.Error
	} else if s.Interruption != "" {
		out.Error = &s.Interruption
	}
	if s.LastCheckpoint != nil {
		out.LastCheckpointPath = &s.LastCheckpoint.Weights
	}
	if out.Warnings == nil {
		out.Warnings = []string{}
	}
	return out
}

var createSessionSpec = Spec{
	Query: []Field{{Name: "wait", Kind: job.Bool, Default: true, Doc: "answer at the first pause; false: at once"}},
	Body: Body{Media: []string{mediaJSON}, Open: true,
		Fields: []Field{
			{Name: "sessionId", Kind: job.Text, Doc: "id of the session, also spelled session_id; default: 32 random hex digits"},
			{Name: "maxSteps", Kind: job.Int, Max: largestInteger, Doc: "steps after which the session is complete, also spelled max_steps"},
			{Name: "config", Kind: job.Object, Required: true, Doc: "an AI-Toolkit job"},
		},
		Example: map[string]any{"sessionId": "my-session", "maxSteps": 200, "config": map[string]any{"job": "extension", "config": map[string]any{
			"name": "my-run", "process": []any{map[string]any{
				"type": "sd_trainer", "training_folder": "output", "model": map[string]any{"name_or_path": "models/pixart"},
				"datasets": []any{map[string]any{"folder_path": "pictures", "resolution": 512}},
				"train":    map[string]any{"steps": 200, "batch_size": 1, "lr": 1e-4},
			}},
		}}},
	},
	Answers: []Answer{
		{Status: http.StatusCreated, Doc: "the session, paused with no steps granted", Example: status{}},
		{Status: http.StatusBadRequest, Doc: "the job cannot be run; detail names every option that is wrong", Example: detail{}},
		{Status: http.StatusTooManyRequests, Doc: "too many sessions have workers", Example: detail{}},
	},
}

// createSession answers when the session first pauses; with ?wait=false, at once.
func (s *Server) createSession(c *fiber.Ctx) error {
	if err := s.checkRoom(); err != nil {
		return err
	}
	request, config, err := s.readCreate(c.Body())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), createWait)
	defer cancel()
	session, err := s.options.Manager.Create(ctx, request)
	if err != nil {
		return createError(err, request.ID)
	}
	if err := aitoolkit.WriteConfig(request.Job.RunDir(), config); err != nil {
		s.options.Logger.Warn("the run goes on without its config.yaml", zap.String("session", session.ID()), zap.Error(err))
	}
	snapshot := session.Snapshot()
	if c.Query("wait") != "false" {
		if snapshot, err = session.WaitReady(ctx); err != nil {
			snapshot = session.Snapshot()
		}
	}
	return c.Status(http.StatusCreated).JSON(statusOf(snapshot))
}

// readCreate also returns the document of the job, as it was sent.
func (s *Server) readCreate(raw []byte) (sessions.CreateRequest, map[string]any, error) {
	b, err := readBody(raw)
	if err != nil {
		return sessions.CreateRequest{}, nil, err
	}
	request := sessions.CreateRequest{ID: b.text("sessionId", "session_id")}
	var maxSteps *int64
	if name, value := b.take("maxSteps", "max_steps"); value != nil {
		if n, ok := b.integer(name, value); ok && n < 0 {
			b.add("greater_than_equal", name, "Input should be greater than or equal to 0", value, map[string]any{"ge": 0})
		} else if ok {
			maxSteps = &n
		}
	}
	config := b.object("config")
	if err := b.err(); err != nil {
		return request, nil, err
	}
	if request.Job, err = aitoolkit.Translate(config, maxSteps, s.options.Roots); err == nil {
		err = aitoolkit.CheckFolders(request.Job)
	}
	if err != nil {
		return request, nil, failure(http.StatusBadRequest, "%v", err)
	}
	for _, name := range b.unknown() {
		request.Job.Warnings = append(request.Job.Warnings, name+" is not a field of this request; it has no effect")
	}
	return request, config, nil
}

func createError(err error, id string) error {
	var invalid *job.Invalid
	switch {
	case errors.Is(err, sessions.ErrExists):
		return failure(http.StatusBadRequest, "session %q already exists", id)
	case errors.Is(err, sessions.ErrBadID):
		return failure(http.StatusBadRequest, "sessionId: %v", err)
	case errors.As(err, &invalid), errors.Is(err, sessions.ErrRunFolderBusy):
		return failure(http.StatusBadRequest, "%v", aitoolkit.Respell(err))
	case errors.Is(err, sessions.ErrClosed):
		return failure(http.StatusServiceUnavailable, "%v", err)
	}
	return err
}

// session finds the session that the path names; the error is worded as the original words it.
func (s *Server) session(c *fiber.Ctx, notFound string) (*sessions.Session, error) {
	id, err := url.PathUnescape(c.Params("id"))
	if err != nil {
		id = c.Params("id")
	}
	session, err := s.options.Manager.Session(id)
	if errors.Is(err, sessions.ErrNotFound) {
		if notFound == "" {
			return nil, failure(http.StatusNotFound, "'unknown session %q'", id)
		}
		return nil, failure(http.StatusNotFound, "%s", notFound)
	}
	return session, err
}

const sessionNotFound = "session not found"

var (
	listSessionsSpec  = answers(Answer{Status: http.StatusOK, Doc: "every session", Example: map[string]status(nil)})
	getSessionSpec    = answers(Answer{Status: http.StatusOK, Doc: "its state", Example: status{}})
	abortSessionSpec  = answers(Answer{Status: http.StatusAccepted, Doc: "its state; aborting, then aborted", Example: status{}})
	deleteSessionSpec = answers(Answer{Status: http.StatusNoContent, Doc: "forgotten"})
	grantEpochsSpec   = answers(Answer{Status: http.StatusGone, Doc: "sessions are granted steps", Example: detail{}})
	healthSpec        = answers(Answer{Status: http.StatusOK, Doc: "the server serves", Example: map[string]any{"status": "healthy", "mode": "unified"}})
)

func (s *Server) listSessions(c *fiber.Ctx) error {
	all := map[string]status{}
	for _, session := range s.options.Manager.Sessions() {
		all[session.ID()] = statusOf(session.Snapshot())
	}
	return c.JSON(all)
}

func (s *Server) getSession(c *fiber.Ctx) error {
	session, err := s.session(c, "")
	if err != nil {
		return err
	}
	return c.JSON(statusOf(session.Snapshot()))
}

func (s *Server) abortSession(c *fiber.Ctx) error {
	session, err := s.session(c, sessionNotFound)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	if err := session.Abort(ctx); err != nil && !errors.Is(err, sessions.ErrFinished) {
		return err
	}
	return c.Status(http.StatusAccepted).JSON(statusOf(session.Snapshot()))
}

func (s *Server) deleteSession(c *fiber.Ctx) error {
	session, err := s.session(c, sessionNotFound)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), deleteWait)
	defer cancel()
	err = s.options.Manager.Delete(ctx, session.ID())
	if errors.Is(err, sessions.ErrNotFound) {
		return failure(http.StatusNotFound, sessionNotFound)
	}
	if err != nil {
		return err
	}
	return c.SendStatus(http.StatusNoContent)
}

func (s *Server) health(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"status": "healthy", "mode": "unified"})
}

func (s *Server) grantEpochs(*fiber.Ctx) error {
	return failure(http.StatusGone, "Epoch-based control has been replaced. Use POST /sessions/{session_id}/steps instead.")
}
