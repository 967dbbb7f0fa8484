package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// evaluationSeed decides the noise of evaluations. It is not the job's, so that runs of different seeds can be compared.
const evaluationSeed = 0

// evaluate reports the losses of this step. Failures are reported and training goes on, unless the session was lost.
func (r *run) evaluate(ctx context.Context) error {
	ctx, cancel := r.control.onEnd(ctx)
	defer cancel()
	r.cutShort = 0
	result, err := r.losses(ctx)
	switch {
	case err == nil:
		if count := len(r.steps); count > 0 {
			r.steps[count-1].Evaluation = &result
		}
		r.reporter.Evaluation(result)
		r.reporter.Log(result.line())
		return nil
	case r.control.ending() && isCancelled(err):
		r.cutShort = r.step
		return nil
	case isLost(err):
		return fmt.Errorf("evaluate step %d: %w", r.step, err)
	}
	r.reporter.EvaluationFailed(r.step, err)
	r.reporter.Log(fmt.Sprintf("evaluation of step %d failed: %v", r.step, err))
	return nil
}

// losses evaluates all datasets.
func (r *run) losses(ctx context.Context) (Evaluation, error) {
	started := time.Now()
	result := Evaluation{Step: r.step}
	var sum float64
	var pictures int
	losses, err := r.session.Evaluate(ctx, r.evaluations())
	if err != nil {
		return result, err
	}
	for _, set := range r.data.evaluated {
		var total float64
		for _, batch := range set.batches(r.job) {
			total += mean(losses[0]) * float64(len(batch.Samples))
			losses = losses[1:]
		}
		count := len(set.samples)
		result.Losses = append(result.Losses, DatasetLoss{Dataset: set.id, Loss: total / float64(count), Pictures: count})
		sum, pictures = sum+total, pictures+count
	}
	if r.job.Evaluation.Pooled {
		pooled := sum / float64(pictures)
		result.Pooled = &pooled
	}
	result.Seconds = time.Since(started).Seconds()
	return result, nil
}

// evaluations lists the micro-batches of all datasets.
func (r *run) evaluations() []engine.Evaluation {
	var all []engine.Evaluation
	for _, set := range r.data.evaluated {
		all = append(all, set.batches(r.job)...)
	}
	return all
}

func mean(values []float64) float64 {
	var sum float64
	for _, value := range values {
		sum += value
	}
	return sum / float64(max(len(values), 1))
}

// line is for people.
func (e Evaluation) line() string {
	var parts []string
	for _, one := range e.Losses {
		parts = append(parts, fmt.Sprintf("%s %.4f (%d pictures)", one.Dataset, one.Loss, one.Pictures))
	}
	if e.Pooled != nil {
		parts = append(parts, fmt.Sprintf("%s %.4f", job.PooledLoss, *e.Pooled))
	}
	return fmt.Sprintf("evaluation of step %d: loss of %s", e.Step, strings.Join(parts, ", "))
}

// evaluates tells whether there is anything to evaluate, ever.
func (r *run) evaluates() bool {
	e := r.job.Evaluation
	return e != nil && len(r.data.evaluated) > 0 && (e.Every > 0 || e.EveryEpochs > 0)
}

// evaluationDue tells whether this step is evaluated: at the intervals, and the last one.
func (r *run) evaluationDue() bool {
	if !r.evaluates() {
		return false
	}
	e := r.job.Evaluation
	return r.step >= r.job.End() || isMultiple(r.step, e.Every) || r.ready.endsShare(r.step, e.EveryEpochs)
}

// nextEvaluation is the next step at an interval.
func (r *run) nextEvaluation() int64 {
	if !r.evaluates() {
		return never
	}
	e := r.job.Evaluation
	return min(nextMultiple(r.step, e.Every), r.ready.nextShare(r.step, e.EveryEpochs))
}

// isCutShort tells whether the end of the run has kept the losses of this step from being computed.
func (r *run) isCutShort() bool { return r.cutShort > 0 && r.cutShort == r.step }

// owesEvaluation tells whether the run before this one did not come to evaluate the step from which this one goes on.
func (r *run) owesEvaluation() bool {
	return r.evaluates() && r.ready.Resumed != nil && r.ready.Resumed.Manifest.EvaluationOwed
}
