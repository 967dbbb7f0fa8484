package run

import (
	"context"
	"fmt"

	"github.com/stepd/stepd/sessions/engine"
)

// chunk is the largest number of steps handed to the engine at once; it bounds the memory of the batch list.
const chunk = 64

// train takes the steps up to the next boundary and serves checkpoint and sample intervals there. A request cuts it
// short at the end of a step.
func (r *run) train(ctx context.Context, budget int64) error {
	r.reporter.Running(r.step)
	boundary := min(budget, nextMultiple(r.step, r.job.Save.Every), nextMultiple(r.step, r.samplingInterval()))
	if err := r.trainTo(ctx, boundary); err != nil {
		return err
	}
	if r.step < boundary || r.step >= r.job.End() {
		return nil
	}
	if isMultiple(r.step, r.job.Save.Every) {
		if err := r.save(ctx, r.intervalReason()); err != nil {
			return err
		}
	}
	if isMultiple(r.step, r.samplingInterval()) {
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
		steps := r.nextSteps(min(boundary-r.step, chunk))
		_, err := r.session.Train(ctx, steps)
		done := r.session.Step() - r.step
		r.step += done
		if done < int64(len(steps)) {
			// The micro-batches of steps that were not applied come again.
			r.cursor = r.data.plan.From(r.step * int64(r.job.Accumulation()))
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
			steps[i].Batches = append(steps[i].Batches, r.cursor.Next())
		}
	}
	return steps
}

// intervalReason names the checkpoint after the more important of two occasions.
func (r *run) intervalReason() string {
	if r.step >= r.control.budget() {
		return "budget"
	}
	return "interval"
}

func (r *run) samplingInterval() int64 {
	if len(r.job.Sampling.Prompts) == 0 {
		return 0
	}
	return r.job.Sampling.Every
}

// nextMultiple is the first multiple of every above step; never when every is 0.
func nextMultiple(step, every int64) int64 {
	if every <= 0 {
		return 1 << 62
	}
	return (step/every + 1) * every
}

func isMultiple(step, every int64) bool { return every > 0 && step%every == 0 }
