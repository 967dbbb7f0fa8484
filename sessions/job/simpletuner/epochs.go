package simpletuner

import (
	"context"
	"errors"
	"math"

	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/job"
)

var errNoProber = errors.New("this caller cannot read picture sizes; set max_train_steps instead")

// stepsOf turns epochs into optimizer steps, for which the data must be scanned.
func (t *translation) stepsOf(epochs float64) int64 {
	if len(t.job.Datasets) == 0 || t.job.BatchSize < 1 {
		return 1 // refused elsewhere
	}
	unbounded := *t.job
	unbounded.Steps = 0
	plan, err := t.scan(&unbounded)
	if err != nil {
		t.refuse(option("num_train_epochs"), "the steps of an epoch are not known: %v", err)
		return 1
	}
	lengths, accumulation, steps := plan.Epochs(), int64(t.job.Accumulation()), 0.0
	for i, span := range lengths {
		end := math.Inf(1)
		if i+1 < len(lengths) {
			end = float64(lengths[i+1].Epoch)
		}
		perEpoch := (span.Batches + accumulation - 1) / accumulation
		steps += max(min(epochs, end)-float64(span.Epoch), 0) * float64(perEpoch)
	}
	total := max(int64(math.Ceil(steps)), 1)
	if batches, ends := plan.Batches(); ends && int64(math.Ceil(epochs)) <= lengths.At(batches) {
		// The last step may not go on into an epoch without data.
		total = max(min(total, batches/accumulation), 1)
	}
	return total
}

// scan plans the micro-batches of the job.
func (t *translation) scan(j *job.Job) (*dataset.Plan, error) {
	if t.request.Prober == nil {
		return nil, errNoProber
	}
	manifest, err := dataset.Build(context.Background(), dataset.Request{Datasets: j.Datasets, Prober: t.request.Prober,
		Seed: j.Engine.Seed, BucketStep: defaultAlignment, SkipBad: j.SkipBadImages, CountOnly: true, Allowed: t.request.Roots.Limit.Check})
	if err != nil {
		return nil, err
	}
	return dataset.PlanJob(j, manifest.Samples)
}

// checkEpochs refuses steps without data, which takes the lengths of epochs where datasets come or leave with one.
func (t *translation) checkEpochs() {
	byEpoch := false
	for _, d := range t.job.Datasets {
		byEpoch = byEpoch || d.StartEpoch > 1 || d.EndEpoch > 0
		if d.StartStep > t.job.End() {
			t.warn("dataset %s: start_step %d is after the last step %d; the dataset takes no part", d.ID, d.StartStep, t.job.End())
		}
	}
	if !byEpoch || t.request.Prober == nil {
		return // the run checks it before its first step
	}
	plan, err := t.scan(t.job)
	switch {
	case err == nil:
		last := plan.Epochs().At(t.job.End()*int64(t.job.Accumulation())-1) + 1
		for _, d := range t.job.Datasets {
			if d.StartEpoch > last {
				t.warn("dataset %s: start_epoch %d is after the last epoch %d; the dataset takes no part", d.ID, d.StartEpoch, last)
			}
		}
	case !t.take(err):
		t.refuse(option("data_backend_config"), "the epochs in which datasets take part are not known: %v", err)
	}
}
