package server

import (
	"encoding/json"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
)

// trainingState is the answer of /api/training/status; every key is always present.
type trainingState struct {
	Status   string           `json:"status"`
	Config   json.RawMessage  `json:"config"`
	JobID    *string          `json:"job_id"`
	JobInfo  *jobInfo         `json:"job_info"`
	Progress *progress        `json:"progress"`
	Startup  map[string]stage `json:"startup_progress"`
}

// jobInfo is the state of a job's process, and why it ended badly.
type jobInfo struct {
	Status  string    `json:"status"`
	Detail  string    `json:"status_detail,omitempty"`
	Error   *jobError `json:"error,omitempty"`
	Message string    `json:"message,omitempty"`
	// QueuePosition of a job that waits for its turn.
	QueuePosition int `json:"queue_position,omitempty"`
}

// jobError is the reason of a failure.
type jobError struct {
	Message     string   `json:"message"`
	Code        string   `json:"code,omitempty"`
	RecentLines []string `json:"recent_lines"`
	Source      string   `json:"source"`
}

// jobStates are SimpleTuner's names of a job's states.
var jobStates = map[sessions.State]string{
	sessions.Initializing: "starting", sessions.Running: "running", sessions.Paused: "running", sessions.Completed: "completed",
	sessions.Failed: "error", sessions.Interrupted: "error", sessions.Aborting: "stopped", sessions.Aborted: "cancelled",
}

// trainingStatus describes the current or last job from memory alone. What ended stays readable until the next job.
func (s *Server) trainingStatus(c *fiber.Ctx) error {
	session := s.currentJob()
	if session == nil {
		return c.JSON(trainingState{Status: "idle", Config: json.RawMessage("{}"), Startup: map[string]stage{}})
	}
	now := session.Snapshot()
	known := s.hub.of(now)
	id := session.ID()
	answer := trainingState{Status: jobStates[now.State], Config: s.configOf(session), JobID: &id, JobInfo: describeJob(session, now),
		Progress: currentProgress(session, now, known), Startup: currentStages(now, known)}
	if now.State == sessions.Aborting && now.Cancelled {
		answer.Status = "cancelled"
	}
	return c.JSON(answer)
}

func describeJob(session *sessions.Session, now sessions.Snapshot) *jobInfo {
	info := &jobInfo{Status: processStates[now.State], QueuePosition: now.QueuePosition}
	switch now.State {
	case sessions.Failed:
		info.Detail, info.Message = "error_with_details", now.Error
	case sessions.Interrupted:
		info.Detail, info.Message = "crashed_without_details", now.Interruption
	default:
		return info
	}
	info.Error = &jobError{Message: info.Message, Code: now.ErrorCode, RecentLines: session.Logs(recentLogLines), Source: "worker"}
	return info
}

// recentLogLines go with an error.
const recentLogLines = 20

// currentProgress is nil before the first step and after a bad end. The percentage stays where it was while steps that
// were lost in a crash are trained again.
func currentProgress(session *sessions.Session, now sessions.Snapshot, known jobProgress) *progress {
	switch now.State {
	case sessions.Failed, sessions.Interrupted, sessions.Aborted, sessions.Aborting:
		return nil
	}
	if now.LastStep == nil {
		return nil
	}
	p := progressOf(session, now, *now.LastStep)
	p.Step = now.Completed
	p.Percent = percentOf(known.peak, now.End)
	if now.State == sessions.Completed {
		p.Percent = 100
	}
	return &p
}

// currentStages are empty between steps and after the end.
func currentStages(now sessions.Snapshot, known jobProgress) map[string]stage {
	stages := map[string]stage{}
	if now.Finished() {
		return stages
	}
	if known.state == now.State { // else its stages are those of a state that is over
		for _, one := range known.stages {
			stages[one.Key] = one
		}
	}
	if now.State == sessions.Initializing && now.Stage.Stage != "" {
		one := describeStage(now.Stage)
		stages[one.Key] = one
	}
	return stages
}

// jobConfig is the configuration of a job as /status shows it.
type jobConfig struct {
	session *sessions.Session
	text    json.RawMessage
}

// configOf is the resolved configuration of a job, with the dashes of options.
func (s *Server) configOf(session *sessions.Session) json.RawMessage {
	if known := s.jobConfig.Load(); known != nil && known.session == session {
		return known.text
	}
	var plain map[string]json.RawMessage
	dashed := map[string]json.RawMessage{}
	if json.Unmarshal([]byte(session.Labels()[labelConfig]), &plain) == nil {
		for name, value := range plain {
			dashed["--"+name] = value
		}
	}
	config, err := json.Marshal(dashed)
	if err != nil {
		return json.RawMessage("{}")
	}
	s.jobConfig.Store(&jobConfig{session, config})
	return config
}
