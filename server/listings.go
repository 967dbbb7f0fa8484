package server

import (
	"net/http"
	"net/url"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// familyList is the answer of /api/models.
type familyList struct {
	Families []string `json:"families"`
}

// familyInfo describes one model family.
type familyInfo struct {
	Family         string   `json:"family"`
	Flavours       []string `json:"flavours"`
	DefaultFlavour string   `json:"default_flavour"`
}

var (
	listFamiliesSpec = answers(Answer{Status: http.StatusOK, Doc: "names to give as model_family", Example: familyList{}})
	getFamilySpec    = answers(Answer{Status: http.StatusOK, Doc: "its published models", Example: familyInfo{}})
	versionSpec      = answers(Answer{Status: http.StatusOK, Doc: "version of the native core", Example: map[string]any{"version": ""}})
)

func (s *Server) listFamilies(c *fiber.Ctx) error {
	return c.JSON(familyList{Families: simpletuner.Families()})
}

// getFamily answers for the family and for its flavours alike.
func (s *Server) getFamily(c *fiber.Ctx) error {
	name, err := url.PathUnescape(c.Params("name"))
	if err != nil {
		name = c.Params("name")
	}
	flavours, fallback, known := simpletuner.Flavours(name)
	if !known {
		return failure(http.StatusNotFound, "Model family '%s' not found", name)
	}
	return c.JSON(familyInfo{Family: name, Flavours: flavours, DefaultFlavour: fallback})
}

func (s *Server) version(c *fiber.Ctx) error { return c.JSON(fiber.Map{"version": s.options.Version}) }

// queueList is the answer of /api/queue.
type queueList struct {
	Jobs  []queuedJob `json:"jobs"` // the one at work, then those that wait
	Count int         `json:"count"`
}

type queuedJob struct {
	JobID     string    `json:"job_id"`
	Status    string    `json:"status"`
	Position  int       `json:"position"` // 0: at work
	Config    string    `json:"config_name"`
	OutputDir string    `json:"output_dir"`
	CreatedAt time.Time `json:"created_at"`
}

var (
	listQueueSpec   = answers(Answer{Status: http.StatusOK, Doc: "the jobs that have not ended", Example: queueList{}})
	cancelQueueSpec = answers(Answer{Status: http.StatusOK, Doc: "the job ends, at its next step when it is at work", Example: cancelled{}},
		Answer{Status: http.StatusConflict, Doc: "it has ended already", Example: detail{}})
)

// cancelled is the answer to the cancellation of a job.
type cancelled struct {
	Success bool   `json:"success"`
	JobID   string `json:"job_id"`
}

func (s *Server) listQueue(c *fiber.Ctx) error {
	list := queueList{Jobs: []queuedJob{}}
	for _, session := range s.options.Manager.Sessions() {
		now := session.Snapshot()
		if isTraining(session) && !now.Finished() {
			list.Jobs = append(list.Jobs, describeQueued(session, now))
		}
	}
	list.Count = len(list.Jobs)
	return c.JSON(list)
}

func describeQueued(session *sessions.Session, now sessions.Snapshot) queuedJob {
	one := queuedJob{JobID: session.ID(), Status: jobStates[now.State], Position: now.QueuePosition,
		Config: session.Labels()[labelEnvironment], OutputDir: now.RunDir, CreatedAt: now.Created}
	if now.QueuePosition > 0 {
		one.Status = "queued"
	}
	return one
}

func (s *Server) cancelQueued(c *fiber.Ctx) error {
	session := s.trainingJob(c.Params("id"))
	if session == nil {
		return failure(http.StatusNotFound, "Job '%s' not found", c.Params("id"))
	}
	if session.Snapshot().Finished() {
		return failure(http.StatusConflict, "Job '%s' has ended already", session.ID())
	}
	if err := s.cancelJob(session); err != nil {
		return err
	}
	return c.JSON(cancelled{Success: true, JobID: session.ID()})
}
