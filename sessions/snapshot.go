package sessions

import (
	"time"

	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
)

// Snapshot is what is known about a session at one moment; everything in it is durable or can be computed again.
type Snapshot struct {
	ID    string `json:"id"`
	Name  string `json:"name"` // of the run
	State State  `json:"state"`
	// Stage of long work while initializing or between steps ("queued", "load", "encode_images", …), with its progress.
	Stage StageEvent `json:"stage"`
	// QueuePosition is 1, 2, … for a session that waits for its turn in its queue (state Initializing, stage "queued");
	// otherwise 0.
	QueuePosition int `json:"queue_position,omitempty"`
	// Completed optimizer steps, Allowed steps (both absolute: a resumed run starts at the resumed step).
	Completed int64 `json:"completed"`
	Allowed   int64 `json:"allowed"`
	// MaxSteps is the cap of the request, nil for none; Steps is the length of the schedule; End is where training ends.
	MaxSteps *int64 `json:"max_steps"`
	Steps    int64  `json:"steps"`
	End      int64  `json:"end"`
	Epoch    int64  `json:"epoch"`
	// Epochs turns micro-batches into epochs; empty until the data are known.
	Epochs dataset.Epochs `json:"epochs,omitempty"`
	// LastStep is the latest step event; nil before the first.
	LastStep *StepEvent `json:"last_step"`
	// LastEvaluation has the latest losses of pictures that are not trained on; nil before the first.
	LastEvaluation *EvaluationEvent `json:"last_evaluation,omitempty"`
	// LastCheckpoint is the newest durable checkpoint; nil before the first. After a resume it is the resumed one.
	LastCheckpoint *Checkpoint `json:"last_checkpoint"`
	// Error is set exactly in state Failed; Interruption exactly in state Interrupted.
	Error        string `json:"error,omitempty"`
	ErrorCode    string `json:"error_code,omitempty"`
	Interruption string `json:"interruption,omitempty"`
	// Cancelled tells that the abort was a Cancel.
	Cancelled bool `json:"cancelled,omitempty"`
	// Plan of memory and work; nil until it is known.
	Plan     *engine.Plan `json:"plan,omitempty"`
	Warnings []string     `json:"warnings,omitempty"`
	RunDir   string       `json:"run_dir"`
	Attempt  int          `json:"attempt"`
	// PID of the worker process; 0 without one.
	PID     int       `json:"pid,omitempty"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
	// LastEvent is the index of the newest event.
	LastEvent int64 `json:"last_event"`
}

// Finished tells whether the session has ended for good.
func (s Snapshot) Finished() bool { return s.State.Terminal() }

// Remaining steps that are granted and can still be trained.
func (s Snapshot) Remaining() int64 {
	limit := s.Allowed
	if s.MaxSteps != nil {
		limit = min(limit, *s.MaxSteps)
	}
	return max(limit-s.Completed, 0)
}

// LastCheckpointStep is the step of the newest checkpoint, 0 before the first.
func (s Snapshot) LastCheckpointStep() int64 {
	if s.LastCheckpoint == nil {
		return 0
	}
	return s.LastCheckpoint.Step
}
