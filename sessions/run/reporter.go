package run

import (
	"context"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// Reporter is told what happens, in order. OnStep, OnProgress and Preview may come from other goroutines; all others
// come from the goroutine of Run. All but Admit and Checkpoint return at once.
type Reporter interface {
	OnStep(engine.StepEvent)
	OnProgress(engine.ProgressEvent)
	// Log takes one line for people.
	Log(line string)
	// Warning takes a remark that belongs among the session's events.
	Warning(message string)
	// Admit returns when the memory of the plan may be used, or with an error when it never may.
	Admit(ctx context.Context, plan engine.Plan) error
	// Ready says that the model is loaded and where training starts.
	Ready(Ready)
	// Checkpoint returns when the durable checkpoint is recorded; only then may older ones be removed.
	Checkpoint(ctx context.Context, info *checkpoint.Info) error
	// Removed says that a checkpoint is gone.
	Removed(step int64, path, reason string)
	// Sample says that a picture is written.
	Sample(Sample)
	// Preview says that a picture of an unfinished sample is written.
	Preview(Preview)
	// SampleFailed says that the pictures of a step could not be made; training goes on.
	SampleFailed(step int64, err error)
	// Paused says that the budget is used up and everything trained is in a recorded checkpoint.
	Paused(step int64)
	// Running says that steps follow.
	Running(step int64)
}

// Ready says where a run starts.
type Ready struct {
	Step  int64 `json:"step"`
	Epoch int64 `json:"epoch"`
	// BatchesPerEpoch turns steps into epochs: epoch = (step*accumulation) / BatchesPerEpoch.
	BatchesPerEpoch int64 `json:"batches_per_epoch"`
	Accumulation    int64 `json:"accumulation"`
	// Resumed is the checkpoint of Step; nil at the beginning.
	Resumed *checkpoint.Info `json:"resumed,omitempty"`
	// Kept are all checkpoints of the run folder, oldest first.
	Kept []*checkpoint.Info `json:"kept,omitempty"`
	// Changed lists the fields of the job that differ from those of the resumed checkpoint, and "data" when the pictures,
	// captions or crops do.
	Changed []string `json:"changed,omitempty"`
}

// EpochOf is the number of completed passes over the data after step steps.
func (r Ready) EpochOf(step int64) int64 {
	if r.BatchesPerEpoch == 0 {
		return 0
	}
	return step * r.Accumulation / r.BatchesPerEpoch
}

// Sample is one validation picture.
type Sample struct {
	Step   int64      `json:"step"`
	Index  int        `json:"index"`
	Path   string     `json:"path"`
	Prompt job.Prompt `json:"prompt"`
}

// Preview is a picture of a sample that is not finished.
type Preview struct {
	Step          int64      `json:"step"` // of the training
	Index         int        `json:"index"`
	SamplingStep  int        `json:"sampling_step"` // from 1
	SamplingSteps int        `json:"sampling_steps"`
	Timestep      float64    `json:"timestep"`
	Path          string     `json:"path"`
	Prompt        job.Prompt `json:"prompt"`
}
