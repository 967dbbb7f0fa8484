package run

import (
	"context"
	"fmt"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
)

// chunk is the largest number of steps handed to the engine at once; it bounds the memory of the batch list.
const chunk = 64

// train takes the steps up to the next boundary and serves checkpoint and sample intervals there. A request cuts it
// short at the end of a step.
func (r *run) train(ctx context.Context, budget int64) error {
	r.reporter.Running(r.step)
	boundary := min(budget, r.nextBoundary())
	if err := r.trainTo(ctx, boundary); err != nil {
		return err
	}
	if r.step < boundary {
		return nil
	}
	// Before any checkpoint of this step: what resumes from one has its evaluation behind it.
	if r.evaluationDue() {
		if err := r.evaluate(ctx); err != nil {
			return err
		}
	}
	if r.step >= r.job.End() {
		return nil
	}
	if reason := r.savingDue(); reason != "" {
		if err := r.save(ctx, reason); err != nil {
			return err
		}
	}
	if r.samplingDue() {
		if r.step >= r.control.budget() {
			// The budget's checkpoint comes first, so that a client does not wait for it longer than it must.
			if err := r.save(ctx, "budget"); err != nil {
				return err
			}
		}
		return r.sample(ctx)
	}
	return nil
}

// trainTo stops early when there is a request.
func (r *run) trainTo(ctx context.Context, boundary int64) error {
	ctx, cancel := r.control.onRequest(ctx)
	defer cancel()
	for r.step < boundary && ctx.Err() == nil {
		count, err := r.cropSteps(ctx, min(boundary-r.step, chunk))
		if err != nil {
			if isCancelled(err) {
				return nil
			}
			return err
		}
		steps := r.nextSteps(count)
		_, err = r.session.Train(ctx, steps)
		done := r.session.Step() - r.step
		r.step += done
		if done < int64(len(steps)) {
			// The micro-batches of steps that were not applied come again.
			r.cursor = r.data.plan.From(r.ready.BatchAt(r.step))
		}
		if err != nil && !isCancelled(err) {
			return fmt.Errorf("train step %d: %w", r.step+1, err)
		}
	}
	return nil
}

func (r *run) nextSteps(count int64) []engine.Step {
	steps := make([]engine.Step, count)
	for i := range steps {
		for range r.job.Accumulation() {
			steps[i].Batches = append(steps[i].Batches, r.shift(r.cursor.Next()))
		}
	}
	return steps
}

// nextBoundary is the next step at which something is due, or asked for.
func (r *run) nextBoundary() int64 {
	save, sampling := r.job.Save, r.job.Sampling
	next := min(nextMultiple(r.step, save.Every), nextMultiple(r.step, save.Rolling), r.ready.nextEpochs(r.step, save.EveryEpochs))
	if r.hasSamples() {
		next = min(next, nextMultiple(r.step, sampling.Every), r.ready.nextEpochs(r.step, sampling.EveryEpochs))
	}
	next = min(next, r.nextEvaluation())
	if r.owed {
		next = min(next, r.step+1)
	}
	return next
}

// savingDue names the checkpoint that this step is due, after the most important of several occasions; empty: none.
func (r *run) savingDue() string {
	save := r.job.Save
	normal := isMultiple(r.step, save.Every) || r.ready.endsEpochs(r.step, save.EveryEpochs)
	switch {
	case !normal && !isMultiple(r.step, save.Rolling):
		return ""
	case r.step >= r.control.budget():
		return "budget"
	case normal:
		return "interval"
	default:
		return checkpoint.ReasonRolling
	}
}

func (r *run) samplingDue() bool {
	return r.hasSamples() &&
		(isMultiple(r.step, r.job.Sampling.Every) || r.ready.endsEpochs(r.step, r.job.Sampling.EveryEpochs))
}

// never is a step that no run reaches.
const never = int64(1) << 62

// nextMultiple is the first multiple of every above step; never when every is 0.
func nextMultiple(step, every int64) int64 {
	if every <= 0 {
		return never
	}
	return (step/every + 1) * every
}

func isMultiple(step, every int64) bool { return every > 0 && step%every == 0 }
