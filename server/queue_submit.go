package server

import (
	"errors"
	"net/http"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// submittedJob is the answer to a job that is submitted by the name of its environment; clients read it with status 200 also
// when the job is refused.
type submittedJob struct {
	Success          bool    `json:"success"`
	JobID            *string `json:"job_id"`
	Status           string  `json:"status"` // running, queued or rejected
	QueuePosition    *int    `json:"queue_position"`
	RequiresApproval bool    `json:"requires_approval"`
	Error            *string `json:"error"`
}

// queueStats counts jobs.
type queueStats struct {
	ByStatus      map[string]int `json:"by_status"`
	QueueDepth    int            `json:"queue_depth"` // jobs that wait
	Running       int            `json:"running"`
	MaxConcurrent int            `json:"max_concurrent"`
	// There are no users and teams, to whom these would belong.
	UserMaxConcurrent int  `json:"user_max_concurrent"`
	TeamMaxConcurrent int  `json:"team_max_concurrent"`
	FairShare         bool `json:"enable_fair_share"`
}

var (
	submitQueueSpec = Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
		{Name: "config_name", Kind: job.Text, Required: true, Doc: "an environment"},
		{Name: "no_wait", Kind: job.Bool, Default: false, Doc: "refuse the job when it would have to wait for its turn"},
		{Name: "target", Kind: job.Text, Default: "auto", Doc: "local or auto; there are no other machines"},
		{Name: "any_gpu", Kind: job.Bool, Default: false, Doc: "has no effect"},
		{Name: "for_approval", Kind: job.Bool, Default: false, Doc: "has no effect: nobody has to approve"},
	}, Example: object{"config_name": "my-environment"}},
		Answers: []Answer{{Status: http.StatusOK, Doc: "success and the id, or every reason why not", Example: submittedJob{}}, unknownName, brokenConfig}}
	queueStatsSpec = answers(Answer{Status: http.StatusOK, Doc: "how many jobs there are in each state", Example: queueStats{}})
)

// submitToQueue starts a job with the options of an environment, without making that the active one, as the command
// `simpletuner jobs submit` asks for.
func (s *Server) submitToQueue(c *fiber.Ctx) error {
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	name, target, noWait := b.requireText("config_name"), b.text("target"), b.flag("no_wait", false)
	for _, hint := range []string{"any_gpu", "for_approval"} { // of no effect here, but not of any type
		b.flag(hint, false)
	}
	if err := b.err(); err != nil {
		return err
	}
	d, err := s.options.Configs.Get(configs.Model, name)
	if err != nil {
		return configFailure(err)
	}
	switch {
	case target != "" && target != "auto" && target != "local":
		return rejected(c, "target: there are no other machines here; use local or auto")
	case noWait && s.activeJob() != nil:
		return rejected(c, "no_wait: another job is at work, and this one would wait for it")
	}
	sub := submission{environment: d.Name, options: simpletuner.Fold(d.Options())}
	if sub.translation, err = s.translate(sub.options, true); err != nil {
		return rejected(c, problemsOf(err)...)
	}
	session, err := s.launch(sub)
	var invalid *job.Invalid
	switch {
	case errors.As(err, &invalid):
		return rejected(c, problemsOf(simpletuner.Respell(err))...)
	case errors.Is(err, sessions.ErrRunFolderBusy):
		return rejected(c, err.Error())
	case err != nil:
		return err
	}
	id, answer := session.ID(), submittedJob{Success: true, Status: "running"}
	answer.JobID = &id
	if position := session.Snapshot().QueuePosition; position > 0 {
		answer.Status, answer.QueuePosition = "queued", &position
	}
	return c.JSON(answer)
}

func rejected(c *fiber.Ctx, reasons ...string) error {
	text := strings.Join(reasons, "; ")
	return c.JSON(submittedJob{Status: "rejected", Error: &text})
}

// countQueue counts the jobs of this server.
func (s *Server) countQueue(c *fiber.Ctx) error {
	stats := queueStats{ByStatus: map[string]int{}, MaxConcurrent: 1, UserMaxConcurrent: 1, TeamMaxConcurrent: 1}
	for _, session := range s.options.Manager.Sessions() {
		if !isTraining(session) {
			continue
		}
		switch now := session.Snapshot(); {
		case now.QueuePosition > 0:
			stats.ByStatus["pending"]++
			stats.QueueDepth++
		case now.Finished():
			stats.ByStatus[endStates[now.State]]++
		default:
			stats.ByStatus["running"]++
			stats.Running++
		}
	}
	return c.JSON(stats)
}

// endStates are the names of ends in counts of jobs.
var endStates = map[sessions.State]string{sessions.Completed: "completed", sessions.Failed: "failed", sessions.Aborted: "cancelled"}
