package simpletuner

import (
	"context"
	"errors"
	"math"

	"github.com/stepd/stepd/sessions/dataset"
)

var errNoProber = errors.New("this caller cannot read picture sizes; set max_train_steps instead")

// stepsOf turns epochs into optimizer steps, for which the data must be scanned.
func (t *translation) stepsOf(epochs float64) int64 {
	perEpoch, err := t.stepsPerEpoch()
	if err != nil {
		t.refuse(option("num_train_epochs"), "the steps of an epoch are not known: %v", err)
		return 1
	}
	return max(int64(math.Ceil(epochs*float64(perEpoch))), 1)
}

func (t *translation) stepsPerEpoch() (int64, error) {
	if len(t.job.Datasets) == 0 || t.job.BatchSize < 1 {
		return 1, nil // refused elsewhere
	}
	if t.request.Prober == nil {
		return 0, errNoProber
	}
	manifest, err := dataset.Build(context.Background(), dataset.Request{Datasets: t.job.Datasets, Prober: t.request.Prober,
		Seed: t.job.Engine.Seed, BucketStep: defaultAlignment, SkipBad: t.job.SkipBadImages, CountOnly: true})
	if err != nil {
		return 0, err
	}
	plan, err := dataset.PlanJob(t.job, manifest.Samples)
	if err != nil {
		return 0, err
	}
	accumulation := int64(t.job.Accumulation())
	return (plan.BatchesPerEpoch() + accumulation - 1) / accumulation, nil
}
