package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
)

// stopTraining ends the current job after its step, with a checkpoint, and does not wait for that.
func (s *Server) stopTraining(c *fiber.Ctx) error {
	session := s.activeJob()
	if session == nil {
		return c.JSON(accepted{Message: "No active training job to stop"})
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	if err := session.Abort(ctx); err != nil {
		return failure(http.StatusInternalServerError, "job %s cannot be stopped: %v", session.ID(), err)
	}
	return c.JSON(accepted{Message: fmt.Sprintf("Training job %s stop requested", session.ID())})
}

// accepted is the answer to a request that is carried out later.
type accepted struct {
	Message string `json:"message"`
	JobID   string `json:"job_id,omitempty"`
}

// cancelTraining ends the job that job_id names, also one that waits for its turn, or else the current one.
func (s *Server) cancelTraining(c *fiber.Ctx) error {
	fields, err := readForm(c)
	if err != nil {
		return err
	}
	session := s.activeJob()
	for _, name := range []string{"job_id", "--job_id"} {
		if id := fields[name]; len(id) > 0 && id[len(id)-1] != "" {
			session = s.trainingJob(id[len(id)-1])
		}
	}
	if session == nil || session.Snapshot().Finished() {
		return noActiveTraining().send(c)
	}
	outcome := "The training job stops after its current step, with a checkpoint."
	if session.Snapshot().QueuePosition > 0 {
		outcome = "The training job has left the queue."
	}
	if err := s.cancelJob(session); err != nil {
		return failedToCancel(err.Error()).send(c)
	}
	return trainingCancelled(session.ID(), outcome).send(c)
}

func (s *Server) cancelJob(session *sessions.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	return session.Cancel(ctx)
}

// trainingJob finds a job by id; nil when there is none.
func (s *Server) trainingJob(id string) *sessions.Session {
	session, err := s.options.Manager.Session(id)
	if err != nil || !isTraining(session) {
		return nil
	}
	return session
}

// workerWait is how long a request for a running job waits for a worker that is being started.
const workerWait = 10 * time.Second

// runValidation asks for the validation pictures after the current step. Requests before that are one.
func (s *Server) runValidation(c *fiber.Ctx) error {
	return s.request(c, "Validation queued for the next gradient sync.", (*sessions.Session).RequestSample)
}

// runCheckpoint asks for a checkpoint after the current step.
func (s *Server) runCheckpoint(c *fiber.Ctx) error {
	return s.request(c, "Checkpoint queued for the next gradient sync.", (*sessions.Session).RequestCheckpoint)
}

func (s *Server) request(c *fiber.Ctx, text string, ask func(*sessions.Session, context.Context) error) error {
	session := s.activeJob()
	if session == nil {
		return noActiveJob()
	}
	ctx, cancel := context.WithTimeout(context.Background(), workerWait)
	defer cancel()
	for {
		before := session.Snapshot()
		err := ask(session, ctx)
		switch {
		case err == nil:
			return c.JSON(accepted{Message: text, JobID: session.ID()})
		case errors.Is(err, sessions.ErrFinished), before.State != sessions.Initializing, before.QueuePosition > 0:
			return noActiveJob()
		case !errors.Is(err, sessions.ErrNotRunning):
			return failure(http.StatusInternalServerError, "job %s cannot be asked: %v", session.ID(), err)
		}
		// Its worker is being started.
		_, err = session.Wait(ctx, func(now sessions.Snapshot) bool { return !now.Updated.Equal(before.Updated) })
		if err != nil {
			return failure(http.StatusServiceUnavailable, "job %s has no worker yet; try again in a moment", session.ID())
		}
	}
}

func noActiveJob() error { return failure(http.StatusBadRequest, "No active training job") }
