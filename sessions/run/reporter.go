package run

import (
	"context"
	"math"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// Reporter is told what happens, in order. OnStep, OnProgress, Log, Preview and Script may come from other
// goroutines; all others come from the goroutine of Run. All but Admit and Checkpoint return at once.
type Reporter interface {
	OnStep(engine.StepEvent)
	OnProgress(engine.ProgressEvent)
	// Log takes one line for people.
	Log(line string)
	// Warning takes a remark that belongs among the session's events.
	Warning(message string)
	// Settled says that what a Warning told is over.
	Settled(warning string)
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
	// Evaluation tells the losses of pictures that are not trained on.
	Evaluation(Evaluation)
	// EvaluationFailed says that the losses of a step could not be computed; training goes on.
	EvaluationFailed(step int64, err error)
	// Script says that a script has ended.
	Script(Script)
	// Paused says that the budget is used up and everything trained is in a recorded checkpoint.
	Paused(step int64)
	// Running says that steps follow.
	Running(step int64)
}

// Ready says where a run starts.
type Ready struct {
	Step  int64 `json:"step"`
	Epoch int64 `json:"epoch"`
	// FirstBatch is the global index of the micro-batch that comes after Step.
	FirstBatch int64 `json:"first_batch"`
	// Epochs turns micro-batches into epochs.
	Epochs       dataset.Epochs `json:"epochs"`
	Accumulation int64          `json:"accumulation"`
	// Resumed is the checkpoint of Step; nil at the beginning.
	Resumed *checkpoint.Info `json:"resumed,omitempty"`
	// Kept are all checkpoints of the run folder, oldest first.
	Kept []*checkpoint.Info `json:"kept,omitempty"`
	// Changed lists the fields of the job that differ from those of the resumed checkpoint, and "data" when the pictures,
	// captions or crops do.
	Changed []string `json:"changed,omitempty"`
}

// EpochOf is the number of completed passes over the data after step steps.
func (r Ready) EpochOf(step int64) int64 { return r.Epochs.At(r.BatchAt(step)) }

// BatchAt is the global index of the first micro-batch after step steps. A resumed run goes on where its checkpoint was,
// also when the number of micro-batches of a step has changed.
func (r Ready) BatchAt(step int64) int64 { return r.FirstBatch + (step-r.Step)*r.Accumulation }

// nextEpochs is the first step above step that completes a multiple of every epochs; never when every is 0.
func (r Ready) nextEpochs(step, every int64) int64 {
	if every <= 0 || len(r.Epochs) == 0 {
		return never
	}
	batches := r.Epochs.Start(nextMultiple(r.EpochOf(step), every)) - r.FirstBatch
	return r.Step + (batches+r.Accumulation-1)/r.Accumulation
}

// endsEpochs tells whether step completes a multiple of every epochs.
func (r Ready) endsEpochs(step, every int64) bool {
	return step > r.Step && r.nextEpochs(step-1, every) == step
}

// followsEpochs tells whether the step before the first one of this run completed a multiple of every epochs.
func (r Ready) followsEpochs(every int64) bool {
	if every <= 0 {
		return false
	}
	before := max(r.FirstBatch-r.Accumulation, 0)
	return r.Epochs.At(r.FirstBatch)/every > r.Epochs.At(before)/every
}

// nextShare is nextEpochs for a number of epochs that need not be whole.
func (r Ready) nextShare(step int64, epochs float64) int64 {
	if epochs <= 0 || len(r.Epochs) == 0 {
		return never
	}
	const slack = 1e-9 // of sums of fractions
	epoch := r.EpochOf(step)
	passed := float64(epoch) + float64(r.BatchAt(step)-r.Epochs.Start(epoch))/float64(r.Epochs.Length(epoch))
	target := (math.Floor(passed/epochs+slack) + 1) * epochs
	whole := math.Floor(target + slack)
	part := math.Ceil((target-whole)*float64(r.Epochs.Length(int64(whole))) - slack)
	batches := r.Epochs.Start(int64(whole)) + int64(part) - r.FirstBatch
	return max(r.Step+(batches+r.Accumulation-1)/r.Accumulation, step+1)
}

// endsShare tells whether step completes a multiple of a number of epochs.
func (r Ready) endsShare(step int64, epochs float64) bool {
	return step > r.Step && r.nextShare(step-1, epochs) == step
}

// Evaluation is the losses of one step.
type Evaluation struct {
	Step int64 `json:"step"`
	// Losses of the datasets, in the order of the job.
	Losses []DatasetLoss `json:"losses"`
	// Pooled is the mean over the pictures of all datasets; nil unless the job asks for it.
	Pooled  *float64 `json:"pooled,omitempty"`
	Seconds float64  `json:"seconds"`
}

// Named lists the losses as SimpleTuner names them in trackers: loss/val/DATASET.
func (e Evaluation) Named() map[string]float64 {
	named := map[string]float64{}
	for _, one := range e.Losses {
		named["loss/val/"+one.Dataset] = one.Loss
	}
	if e.Pooled != nil {
		named["loss/val/"+job.PooledLoss] = *e.Pooled
	}
	return named
}

// DatasetLoss is the mean loss of a dataset over its pictures and the noise levels.
type DatasetLoss struct {
	Dataset  string  `json:"dataset"`
	Loss     float64 `json:"loss"`
	Pictures int     `json:"pictures"`
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

// Script is a script that has ended.
type Script struct {
	Step     int64    `json:"step"` // at which it was started
	Name     string   `json:"name"` // "validation", "checkpoint" or "upload"
	Argv     []string `json:"argv"`
	ExitCode int      `json:"exit_code"` // -1: it did not start, or was killed
	Seconds  float64  `json:"seconds"`
	Problem  string   `json:"problem,omitempty"` // empty: exit code 0
	Output   string   `json:"output,omitempty"`  // the end of it
}
