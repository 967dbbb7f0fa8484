package track

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

// tracker writes one form. Its methods are called by one goroutine.
type tracker interface {
	step(step) error
	sample(sample) error
	evaluation(evaluation) error
	checkpoint(saved) error
	// flush hands what is buffered to the operating system, sync to the disk.
	flush() error
	sync() error
	// close writes the end of the run; it is called once, also after an error.
	close(failed bool) error
}

// start is what a tracker is opened with.
type start struct {
	dir          string // of the run
	project, run string
	// config is the job as JSON.
	config json.RawMessage
	// step from which the run goes on; 0: from the beginning. What is recorded beyond it is dropped.
	step int64
	now  func() time.Time
	// newID makes the id of an offline run.
	newID func() (string, error)
}

// step is one optimizer step.
type step struct {
	engine.StepEvent
	epoch int64
	time  time.Time
}

// sample is one validation picture.
type sample struct {
	run.Sample
	time time.Time
}

// name of the picture's series.
func (s sample) name() string {
	if s.Prompt.Name != "" {
		return s.Prompt.Name
	}
	return fmt.Sprint(s.Index)
}

// evaluation is the losses of pictures that are not trained on.
type evaluation struct {
	run.Evaluation
	time time.Time
}

// saved is one checkpoint.
type saved struct {
	step         int64
	path, reason string
	time         time.Time
}

var openers = map[string]func(start) (tracker, error){
	job.TrackJSONL:       openJSONL,
	job.TrackTensorBoard: openTensorBoard,
	job.TrackWandb:       openWandb,
}
