package sessions

import (
	"encoding/json"
	"time"

	"github.com/stepd/stepd/sessions/run"
)

// Event is one fact about a session. Events are visible only when the fact is durable; their index runs 1, 2, 3, …
// within a session without gap, across restarts.
type Event struct {
	// Seq orders the events of all sessions; it has gaps.
	Seq int64 `json:"seq"`
	// Session is the id of the session.
	Session string `json:"session"`
	// Index of the event within the session.
	Index int64     `json:"index"`
	Time  time.Time `json:"time"`
	Kind  Kind      `json:"kind"`
	// Data is one of the event structs of this package, as JSON; which one, the Kind says.
	Data json.RawMessage `json:"data"`
}

// Kind says what an Event reports.
type Kind string

// The kinds of events and the types of their data.
const (
	KindCreated           Kind = "created"            // CreatedEvent
	KindWarning           Kind = "warning"            // MessageEvent
	KindState             Kind = "state"              // StateEvent
	KindGranted           Kind = "granted"            // GrantedEvent
	KindStage             Kind = "stage"              // StageEvent
	KindPlan              Kind = "plan"               // engine.Plan
	KindResumed           Kind = "resumed"            // ResumedEvent
	KindStep              Kind = "step"               // StepEvent
	KindCheckpoint        Kind = "checkpoint"         // Checkpoint
	KindCheckpointRemoved Kind = "checkpoint_removed" // CheckpointRemovedEvent: retention or quarantine
	KindSample            Kind = "sample"             // SampleEvent
	KindPreview           Kind = "preview"            // PreviewEvent
	KindScript            Kind = "script"             // ScriptEvent
	KindSampleFailed      Kind = "sample_failed"      // MessageEvent
	KindEvaluation        Kind = "evaluation"         // EvaluationEvent
	KindEvaluationFailed  Kind = "evaluation_failed"  // MessageEvent
	KindError             Kind = "error"              // MessageEvent
	KindBudgetExhausted   Kind = "budget_exhausted"   // BudgetEvent, once per grant that was used up
)

// CreatedEvent is the first event of a session.
type CreatedEvent struct {
	Name     string `json:"name"`
	RunDir   string `json:"run_dir"`
	Steps    int64  `json:"steps"`
	MaxSteps *int64 `json:"max_steps"`
}

// MessageEvent carries text.
type MessageEvent struct {
	// Code classifies errors: a name of engine.Code ("numeric", "device_oom") or "worker"; empty otherwise.
	Code    string `json:"code,omitempty"`
	Message string `json:"message"`
}

// StateEvent reports a transition.
type StateEvent struct {
	From   State  `json:"from"`
	To     State  `json:"to"`
	Reason string `json:"reason,omitempty"`
	// Completed and Allowed are the steps trained and granted at the transition.
	Completed int64 `json:"completed"`
	Allowed   int64 `json:"allowed"`
}

// GrantedEvent reports an increased budget.
type GrantedEvent struct {
	Granted int64 `json:"granted"`
	Allowed int64 `json:"allowed"`
}

// BudgetEvent reports that the session is at exactly the granted step, with a checkpoint of it.
type BudgetEvent struct {
	Granted int64 `json:"granted"` // of the grant that was used up
	Step    int64 `json:"step"`
}

// StageEvent reports the progress of long work other than steps.
type StageEvent struct {
	// Stage is "queued", "scan", "load", "encode_text", "encode_images", "sample", "save" or what the engine reports;
	// "recovering" after a restart, until the old worker has ended; and, in snapshots only, "waiting_for_index" while the
	// index cannot be written, as on a full disk.
	Stage string `json:"stage"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

// ResumedEvent reports what a worker continues from.
type ResumedEvent struct {
	Step       int64  `json:"step"`
	Checkpoint string `json:"checkpoint"`
	// Changed lists the job fields that differ from those of the checkpoint, and "data" when the pictures or captions do.
	Changed []string `json:"changed,omitempty"`
}

// StepEvent reports one optimizer step.
type StepEvent struct {
	// Attempt counts the workers of the session; steps redone after a crash come again with a higher attempt.
	Attempt  int     `json:"attempt"`
	Step     int64   `json:"step"`
	Epoch    int64   `json:"epoch"`
	Loss     float64 `json:"loss"`
	LR       float64 `json:"lr"`
	GradNorm float64 `json:"grad_norm"`
	Seconds  float64 `json:"seconds"`
	// MicroBatch is the index of the next micro-batch, over all epochs. It is not Step times those of a step where that
	// number has changed between two workers. 0: not known, in events of older versions.
	MicroBatch int64 `json:"micro_batch,omitempty"`
	// Recovered steps were trained before the session lost its worker or its server, and reported after that.
	Recovered bool `json:"recovered,omitempty"`
}

// Checkpoint is a durable checkpoint.
type Checkpoint struct {
	Step  int64 `json:"step"`
	Epoch int64 `json:"epoch"`
	// Reason is "budget", "interval", "manual", "abort", "final", "stop" or "error".
	Reason string `json:"reason"`
	// Path of the checkpoint folder, absolute.
	Path string `json:"path"`
	// Weights is the published file or folder with the weights for other programs, absolute.
	Weights string `json:"weights"`
	// Final is the published file without a step number, at the end of the run; empty otherwise.
	Final string `json:"final,omitempty"`
	Bytes int64  `json:"bytes"`
}

// CheckpointRemovedEvent reports a checkpoint that is no longer there.
type CheckpointRemovedEvent struct {
	Step   int64  `json:"step"`
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// SampleEvent reports one validation picture.
type SampleEvent struct {
	Step   int64  `json:"step"`
	Index  int    `json:"index"` // position among the pictures of the step
	Path   string `json:"path"`  // absolute
	Prompt string `json:"prompt"`
	Name   string `json:"name,omitempty"` // short name of the prompt
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Seed   uint64 `json:"seed"`
}

// PreviewEvent reports one picture of a sample that is not finished.
type PreviewEvent struct {
	Step          int64   `json:"step"`           // of the training
	Index         int     `json:"index"`          // as in SampleEvent
	SamplingStep  int     `json:"sampling_step"`  // from 1
	SamplingSteps int     `json:"sampling_steps"` // of the finished picture
	Timestep      float64 `json:"timestep"`       // of the model, 0 to 1000
	Path          string  `json:"path"`           // absolute
	Prompt        string  `json:"prompt"`
	Name          string  `json:"name,omitempty"` // short name of the prompt
	Width         int     `json:"width"`          // of the finished picture
	Height        int     `json:"height"`
}

// EvaluationEvent reports the losses of pictures that are not trained on.
type EvaluationEvent struct {
	Attempt int   `json:"attempt"` // as in StepEvent
	Step    int64 `json:"step"`
	// Losses of the datasets, in the order of the job.
	Losses []run.DatasetLoss `json:"losses"`
	// Pooled is the mean over the pictures of all datasets; nil unless the job asks for it.
	Pooled  *float64 `json:"pooled,omitempty"`
	Seconds float64  `json:"seconds"`
	// Recovered is that of StepEvent.
	Recovered bool `json:"recovered,omitempty"`
}

// Named lists the losses under the names that trackers and metrics give them.
func (e EvaluationEvent) Named() map[string]float64 {
	return run.Evaluation{Losses: e.Losses, Pooled: e.Pooled}.Named()
}

// ScriptEvent reports a script of the operator that has ended.
type ScriptEvent struct {
	Script   string   `json:"script"` // "validation", "checkpoint" or "upload"
	Step     int64    `json:"step"`   // at which it was started
	Argv     []string `json:"argv"`
	ExitCode int      `json:"exit_code"` // -1: it did not start, or was killed
	Seconds  float64  `json:"seconds"`
	Problem  string   `json:"problem,omitempty"` // empty: exit code 0
	Output   string   `json:"output,omitempty"`  // the end of what it printed
}
