package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stepd/stepd/sessions/engine"
)

// stepsFile of a checkpoint tells of the steps that led to it. It is as durable as the checkpoint, so that the events of
// steps whose supervisor died before it heard of them can be made later.
const stepsFile = "steps.json"

// Steps are the steps of one worker from the checkpoint before, or its start, up to a checkpoint.
type Steps struct {
	// Session and Attempt are those of the Request.
	Session string `json:"session"`
	Attempt int    `json:"attempt"`
	Steps   []Step `json:"steps"`
}

// Step is one of them.
type Step struct {
	Epoch      int64 `json:"epoch"`
	MicroBatch int64 `json:"micro_batch"` // the next one
	engine.StepEvent
	Evaluation *Evaluation `json:"evaluation,omitempty"` // after the step
}

// ReadSteps reads the steps of a checkpoint folder. One that was made without them has none.
func ReadSteps(checkpoint string) (steps Steps, err error) {
	data, err := os.ReadFile(filepath.Join(checkpoint, stepsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return steps, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &steps)
	}
	if err != nil {
		return steps, fmt.Errorf("read steps of checkpoint: %w", err)
	}
	return steps, nil
}

// mostSteps bounds what a checkpoint tells. Steps that a supervisor has not heard of are those of a few seconds, however
// rare checkpoints are.
const mostSteps = 1 << 16

func (r *run) remember(s Step) {
	if len(r.steps) == 2*mostSteps {
		r.steps = append([]Step(nil), r.steps[mostSteps:]...)
	}
	r.steps = append(r.steps, s)
}

// writeSteps is a part of every checkpoint.
func (r *run) writeSteps(checkpoint string) error {
	newest := r.steps[max(len(r.steps)-mostSteps, 0):]
	data, err := json.Marshal(Steps{Session: r.request.Session, Attempt: r.request.Attempt, Steps: newest})
	if err != nil {
		return fmt.Errorf("write steps as JSON: %w", err)
	}
	return os.WriteFile(filepath.Join(checkpoint, stepsFile), append(data, '\n'), 0o644)
}
