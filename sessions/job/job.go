// Package job describes what to train, free of any dialect: dialects translate into a Job, and everything behind them
// reads only this. A Job is a plain value; it is stored as JSON with the session and inside every checkpoint.
package job

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/stepd/stepd/sessions/engine"
)

// Styles of the files that a run leaves for other programs.
const (
	// StyleFolders exports into the checkpoint folder: checkpoint-<step>/pytorch_lora_weights.safetensors or
	// checkpoint-<step>/transformer/.
	StyleFolders = "folders"
	// StyleAIToolkit also publishes {name}_{step:09d}.safetensors (adapter) or {name}_{step:09d}/transformer (full) in
	// the run folder, and {name}.safetensors when the run completes.
	StyleAIToolkit = "aitoolkit"
	// StyleSimpleTuner exports as StyleFolders does, with training_state.json and averaged weights below ema/; pictures are
	// validation_images/step_<step>_<name>_<index>_<width>x<height>.png. When the run completes, adapter weights also lie in
	// the run folder itself, and a full model as a diffusers pipeline in pipeline/.
	StyleSimpleTuner = "simpletuner"
)

// Where training starts when the run folder already holds checkpoints.
const (
	ResumeLatest = "latest" // from the newest checkpoint that verifies (default)
	ResumeNone   = "none"   // from the beginning; refused when the run folder holds checkpoints
)

// Job is everything that decides what a run computes and which files it leaves.
type Job struct {
	// Name is the run's name: one path element, the run folder below Output and the stem of published files.
	Name string `json:"name"`
	// Output is the folder that holds run folders.
	Output string `json:"output"`
	// Engine configures model, adapter, optimizer, schedule, loss and precision.
	Engine engine.Config `json:"engine"`
	// Datasets are concatenated in this order.
	Datasets []Dataset `json:"datasets"`
	// Mixing is one of the Mix constants; then every micro-batch comes from one dataset, drawn among those with samples left
	// in the epoch. Empty: the samples of all datasets are shuffled together.
	Mixing string `json:"mixing,omitempty"`
	// BatchSize is the number of samples of one micro-batch.
	BatchSize int `json:"batch_size"`
	// Steps is the length of the training in optimizer steps; the learning-rate schedule is planned for it.
	Steps int64 `json:"steps"`
	// MaxSteps caps the budget; nil: no cap. Training ends at the smaller of Steps and MaxSteps.
	MaxSteps *int64 `json:"max_steps,omitempty"`
	// Save says when checkpoints are written, how many are kept and how exported weights look.
	Save Save `json:"save"`
	// Sampling says when and what to sample.
	Sampling Sampling `json:"sampling"`
	// Evaluation says when and on what the loss of pictures that are not trained on is computed; nil: never.
	Evaluation *Evaluation `json:"evaluation,omitempty"`
	// LogEvery is the number of steps between log lines.
	LogEvery int64 `json:"log_every"`
	// Resume is ResumeLatest, ResumeNone or the name of a checkpoint folder ("checkpoint-250", "checkpoint-250-rolling");
	// empty: ResumeLatest.
	Resume string `json:"resume,omitempty"`
	// SkipBadImages trains without the pictures that cannot be read, instead of refusing to start.
	SkipBadImages bool `json:"skip_bad_images"`
	// Tracking names what else is written about the run; nil: nothing.
	Tracking *Tracking `json:"tracking,omitempty"`
	// Scripts are commands of the operator that the run starts; nil: none.
	Scripts *Scripts `json:"scripts,omitempty"`
	// Metadata is written into exported weight files.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Warnings are remarks of the dialect about the configuration: options that have no effect, assumptions made.
	Warnings []string `json:"warnings,omitempty"`
}

// Save configures checkpoints and exports.
type Save struct {
	// Every is the number of steps between checkpoints; 0: only at budget boundaries, on request and at the end.
	Every int64 `json:"every"`
	// EveryEpochs is the number of passes over the data between checkpoints; 0: none. It adds to Every.
	EveryEpochs int64 `json:"every_epochs,omitempty"`
	// Keep is the number of newest checkpoints kept; 0: all. The newest checkpoint of a used-up budget is always kept.
	Keep int `json:"keep"`
	// Rolling is the number of steps between rolling checkpoints, which are kept and counted apart from the others; 0: none.
	Rolling int64 `json:"rolling,omitempty"`
	// KeepRolling is the number of newest rolling checkpoints kept; 0: one.
	KeepRolling int `json:"keep_rolling,omitempty"`
	// DType of exported weights: "fp32", "bf16" or "fp16". Checkpoints keep the training precision.
	DType string `json:"dtype"`
	// Style is StyleFolders, StyleAIToolkit or StyleSimpleTuner; empty: StyleFolders.
	Style string `json:"style,omitempty"`
}

// Sampling configures validation pictures.
type Sampling struct {
	// Every is the number of steps between samplings; 0: only on request.
	Every int64 `json:"every"`
	// EveryEpochs is the number of passes over the data between samplings; 0: none. It adds to Every.
	EveryEpochs int64 `json:"every_epochs,omitempty"`
	// First samples before the first step (the baseline).
	First bool `json:"first"`
	// Last samples when the run completes, also at a step that no interval names.
	Last bool `json:"last"`
	// Preview is the number of sampling steps between pictures of unfinished samples; 0: none.
	Preview int `json:"preview,omitempty"`
	// Weights is one of the Sample constants: which weights are used when the run keeps averaged ones; empty: SampleAveraged.
	Weights string `json:"weights,omitempty"`
	// Prompts lists the pictures to make; empty: sampling is off.
	Prompts []Prompt `json:"prompts,omitempty"`
}

// The weights that pictures are made with, when the run keeps averaged ones.
const (
	SampleAveraged = "averaged"
	SampleTrained  = "trained"
	SampleBoth     = "both" // a picture of each
)

// Scripts are commands that the run starts without a shell, at events of the run.
type Scripts struct {
	// Validation takes the place of the engine's pictures: it is started whenever pictures would be made.
	Validation *Script `json:"validation,omitempty"`
	// Checkpoint is started after each durable checkpoint, beside the training.
	Checkpoint *Script `json:"checkpoint,omitempty"`
	// Upload is started after each checkpoint and at the end of the run, beside the training, with an empty remote path:
	// stepd uploads nothing by itself.
	Upload *Script `json:"upload,omitempty"`
	// Values are the placeholders that are known before the run.
	Values map[string]string `json:"values,omitempty"`
}

// Script is one command.
type Script struct {
	// Command is the program and its arguments, in which {placeholder}s are replaced.
	Command []string `json:"command"`
	// Background does not let the training wait for a validation.
	Background bool `json:"background,omitempty"`
	// Timeout in seconds, after which the script and what it started are killed; 0: 600.
	Timeout int64 `json:"timeout,omitempty"`
}

// Prompt is one validation picture, or several from one seed.
type Prompt struct {
	Text     string  `json:"text"`
	Negative string  `json:"negative,omitempty"`
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Steps    int     `json:"steps"`
	Guidance float64 `json:"guidance"`
	Seed     uint64  `json:"seed"`
	// Count is the number of pictures, drawn from one seed as the rows of one batch; 0: one.
	Count int `json:"count,omitempty"`
	// Sampler is a name of engine.SampleRequest; empty: the model folder's scheduler.
	Sampler string `json:"sampler,omitempty"`
	// Name is the short name in file names and events; empty: the prompt's position. Prompts of several sizes may share one.
	Name string `json:"name,omitempty"`
}

// RunDir is the folder of the run.
func (j *Job) RunDir() string { return filepath.Join(j.Output, j.Name) }

// End is the step at which training is complete: the smaller of Steps and MaxSteps, at least 0.
func (j *Job) End() int64 {
	end := j.Steps
	if j.MaxSteps != nil && *j.MaxSteps < end {
		end = *j.MaxSteps
	}
	return max(end, 0)
}

// Accumulation is the number of micro-batches of one optimizer step, at least 1.
func (j *Job) Accumulation() int { return max(j.Engine.Accumulation, 1) }

// Clone returns a deep copy.
func (j *Job) Clone() (*Job, error) {
	data, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("copy job %q: %w", j.Name, err)
	}
	return Parse(data)
}

// Parse reads what json.Marshal made of a Job.
func Parse(data []byte) (*Job, error) {
	var j Job
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("read stored job: %w", err)
	}
	return &j, nil
}
