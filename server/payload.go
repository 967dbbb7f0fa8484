package server

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/notify"
)

// Types of the event objects, as SimpleTuner names them.
const (
	typeState        = "state" // of the job's process
	typeError        = "error"
	typeNotification = "notification"
	typeStage        = "lifecycle.stage"
	typeStatus       = "training.status"
	typeCheckpoint   = "training.checkpoint"
	typeValidation   = "training.validation"
	typePreview      = "validation.image"
	typeMetric       = "training.metric"
)

// Severities of the event objects.
const (
	severityDebug   = "debug"
	severityInfo    = "info"
	severityWarning = "warning"
	severityError   = "error"
)

// Payload is one event of a job as SimpleTuner reports it: in its event lists, on its streams and to webhooks. Its Body is
// the whole object.
type Payload = notify.Payload

// EventPayload turns an event of a session into the one object that stands for it. Events without a form of their own
// become notifications for debugging, so that the objects are numbered as the events are. It reads pictures from disk.
// false: the event's data is not what its kind promises.
func EventPayload(s *sessions.Session, e sessions.Event) (Payload, bool) {
	p, ok := describeEvent(s, e)
	return withPictures(p), ok
}

// describeEvent is EventPayload with pictures that are not read yet.
func describeEvent(s *sessions.Session, e sessions.Event) (Payload, bool) {
	encode, known := payloads[e.Kind]
	if !known {
		encode = encodeOther
	}
	p, err := encode(s, e)
	if err != nil {
		p, _ = encodeOther(s, e)
	}
	if p.Body == nil {
		p.Body = map[string]any{}
	}
	p.Body["type"], p.Body["severity"], p.Body["job_id"] = p.Type, p.Severity, s.ID()
	p.Body["title"], p.Body["message"] = p.Title, p.Message
	if p.Body["data"] == nil {
		p.Body["data"] = map[string]any{} // clients read it of every event
	}
	p.Body["timestamp"] = e.Time.UTC().Format("2006-01-02T15:04:05.000000-07:00")
	if p.Type == typeState {
		p.Body["timestamp"] = epochSeconds(e.Time)
	}
	return p, err == nil
}

func epochSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// payloads says how each kind of event is reported. Absent kinds are for debugging.
var payloads = map[sessions.Kind]func(*sessions.Session, sessions.Event) (Payload, error){
	sessions.KindCreated:           as(encodeCreated),
	sessions.KindState:             as(encodeState),
	sessions.KindWarning:           as(encodeWarning),
	sessions.KindError:             as(encodeError),
	sessions.KindStage:             as(encodeStage),
	sessions.KindResumed:           as(encodeResumed),
	sessions.KindStep:              as(encodeStep),
	sessions.KindBudgetExhausted:   as(encodeBudget),
	sessions.KindCheckpoint:        as(encodeCheckpoint),
	sessions.KindCheckpointRemoved: as(encodeCheckpointRemoved),
	sessions.KindSample:            as(encodeSample),
	sessions.KindPreview:           as(encodePreview),
	sessions.KindSampleFailed:      as(encodeSampleFailed),
	sessions.KindEvaluation:        as(encodeEvaluation),
	sessions.KindEvaluationFailed:  as(encodeEvaluationFailed),
	sessions.KindScript:            as(encodeScript),
}

// as reads the data of an event for an encoder.
func as[T any](encode func(*sessions.Session, T) Payload) func(*sessions.Session, sessions.Event) (Payload, error) {
	return func(s *sessions.Session, e sessions.Event) (Payload, error) {
		var data T
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return Payload{}, fmt.Errorf("read event %d of session %q: %w", e.Index, s.ID(), err)
		}
		return encode(s, data), nil
	}
}

func encodeOther(_ *sessions.Session, e sessions.Event) (Payload, error) {
	return Payload{Type: typeNotification, Severity: severityDebug, Title: string(e.Kind), Message: string(e.Kind),
		Body: map[string]any{"data": e.Data}}, nil
}

func encodeCreated(s *sessions.Session, e sessions.CreatedEvent) Payload {
	return Payload{Type: typeNotification, Severity: severityInfo, Title: "Training job created",
		Message: fmt.Sprintf("Training job %s was created: %d steps into %s", s.ID(), e.Steps, e.RunDir),
		Body:    map[string]any{"data": e}}
}

func encodeWarning(_ *sessions.Session, e sessions.MessageEvent) Payload {
	return Payload{Type: typeNotification, Severity: severityWarning, Title: "Warning", Message: e.Message}
}

func encodeError(_ *sessions.Session, e sessions.MessageEvent) Payload {
	return Payload{Type: typeError, Severity: severityError, Title: "Fatal Error", Message: e.Message,
		Body: map[string]any{"data": map[string]any{"status": "error", "message": e.Message, "code": e.Code}}}
}

func encodeSampleFailed(_ *sessions.Session, e sessions.MessageEvent) Payload {
	return encodeSkipped("Validation", e)
}

func encodeEvaluationFailed(_ *sessions.Session, e sessions.MessageEvent) Payload {
	return encodeSkipped("Evaluation", e)
}

func encodeSkipped(what string, e sessions.MessageEvent) Payload {
	return Payload{Type: typeNotification, Severity: severityWarning, Title: what + " skipped",
		Message: what + " was skipped, training goes on: " + e.Message,
		Body:    map[string]any{"data": map[string]any{"status": "skipped", "code": e.Code}}}
}

// encodeScript reports a script that has ended.
func encodeScript(_ *sessions.Session, e sessions.ScriptEvent) Payload {
	p := Payload{Type: typeNotification, Severity: severityInfo, Title: fmt.Sprintf("Script after %s", e.Script),
		Message: fmt.Sprintf("The %s script of step %d has ended", e.Script, e.Step), Body: map[string]any{"data": e}}
	if e.Problem != "" {
		p.Severity = severityWarning
		p.Message = fmt.Sprintf("The %s script of step %d failed: %s", e.Script, e.Step, e.Problem)
	}
	return p
}

// encodeState reports a transition as the state of the job's process. The end of a failed job is a training.status, since
// its error has been an event of its own; that of a completed job has been one when its budget was used up.
func encodeState(s *sessions.Session, e sessions.StateEvent) Payload {
	data := map[string]any{}
	p := Payload{Type: typeState, Severity: severityDebug, Title: "Training " + processStates[e.To], Body: map[string]any{"data": data}}
	data["status"] = processStates[e.To]
	p.Message = fmt.Sprintf("Training job %s is %s", s.ID(), processStates[e.To])
	switch e.To {
	case sessions.Completed:
		data["result"] = "0"
	case sessions.Aborting:
		p.Severity, data["reason"] = severityInfo, e.Reason
	case sessions.Aborted:
		p.Severity = severityWarning
		p.Message = fmt.Sprintf("Training job %s was stopped at step %d of %d", s.ID(), e.Completed, s.Job().End())
	case sessions.Interrupted:
		p.Severity, data["message"] = severityError, e.Reason
		p.Message = fmt.Sprintf("Training job %s was interrupted: %s", s.ID(), e.Reason)
	case sessions.Failed:
		data["message"], data["global_step"] = e.Reason, e.Completed
		p.Type, p.Severity, p.Title, p.Message = typeStatus, severityError, "Failed", "Training failed: "+e.Reason
	}
	return p
}

// processStates are the names that SimpleTuner gives to the states of a job's process.
var processStates = map[sessions.State]string{
	sessions.Initializing: "pending", sessions.Running: "running", sessions.Paused: "running", sessions.Completed: "completed",
	sessions.Failed: "failed", sessions.Aborting: "aborting", sessions.Aborted: "terminated", sessions.Interrupted: "crashed",
}

func encodeStage(_ *sessions.Session, e sessions.StageEvent) Payload {
	stage := describeStage(e)
	p := Payload{Type: typeStage, Severity: severityInfo, Title: stage.Label, Message: fmt.Sprintf("%s: %s", stage.Label, stage.Status)}
	if e.Total > 0 {
		p.Message = fmt.Sprintf("%s: %d of %d", stage.Label, e.Done, e.Total)
	}
	p.Body = map[string]any{"stage": stage.body()}
	return p
}

func encodeResumed(_ *sessions.Session, e sessions.ResumedEvent) Payload {
	stage := stage{Key: "init_resume_checkpoint", Label: "Resuming from checkpoint", Status: stageCompleted, Percent: 100}
	return Payload{Type: typeStage, Severity: severityInfo, Title: stage.Label,
		Message: fmt.Sprintf("Resumed at step %d from %s", e.Step, e.Checkpoint), Body: map[string]any{"stage": stage.body(), "data": e}}
}
