package run

import (
	"context"
	"fmt"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// Plan scans the data of a job and computes the memory and work of training it, without loading the model.
func Plan(ctx context.Context, e engine.Engine, j *job.Job) (engine.Plan, error) {
	r := &run{job: j, engine: e, reporter: scanOnly{}}
	if err := r.scan(ctx); err != nil {
		return engine.Plan{}, err
	}
	return r.planMemory(ctx)
}

// planMemory computes what the run needs.
func (r *run) planMemory(ctx context.Context) (engine.Plan, error) {
	plan, err := r.engine.Plan(ctx, r.job.Engine, r.data.shapes)
	if err != nil {
		return engine.Plan{}, fmt.Errorf("plan memory: %w", err)
	}
	return plan, nil
}

// scanOnly hears what scanning the data reports, and keeps none of it.
type scanOnly struct{ Reporter }

func (scanOnly) OnProgress(engine.ProgressEvent) {}
func (scanOnly) Log(string)                      {}
func (scanOnly) Warning(string)                  {}
