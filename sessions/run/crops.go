package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/stepd/stepd/sessions/cache"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
)

// window is the epochs whose crops the engine has, each with all samples of the manifest: sample s of epoch e is number
// (e-first)*len(samples) + s.
type window struct{ first, last int64 }

// recrops tells whether crops are drawn anew in every epoch.
func (r *run) recrops() bool {
	for _, d := range r.job.Datasets {
		if d.NewCrops {
			return true
		}
	}
	return false
}

// cropSteps gives the engine the crops of the next step, and returns how many of the next steps need no others.
func (r *run) cropSteps(ctx context.Context, count int64) (int64, error) {
	if !r.recrops() {
		return count, nil
	}
	epochs, next := r.ready.Epochs, r.ready.BatchAt(r.step)
	need := window{epochs.At(next), epochs.At(r.ready.BatchAt(r.step+1) - 1)}
	if need.first < r.window.first || need.last > r.window.last {
		if err := r.fillCrops(ctx, need); err != nil {
			return 0, fmt.Errorf("encode the crops of epoch %d: %w", need.last+1, err)
		}
	}
	return min(count, (epochs.Start(r.window.last+1)-next)/r.ready.Accumulation), nil
}

// fillCrops encodes the crops of the epochs that are not in the cache yet.
func (r *run) fillCrops(ctx context.Context, need window) error {
	c, err := cache.Open(r.request.CacheDir)
	if err != nil {
		return err
	}
	var all []engine.Sample
	for epoch := need.first; epoch <= need.last && err == nil; epoch++ {
		var latents []string
		samples := dataset.NewCrops(r.job, r.data.plan, r.data.manifest.Samples, epoch)
		bad, verdict := r.collectBad(samples)
		latents, err = r.fillLatents(ctx, c, samples, bad, verdict)
		for i, path := range latents {
			all = append(all, engine.Sample{Latents: path, Text: r.texts[samples[i].Caption]})
		}
	}
	if err = errors.Join(err, c.Close()); err != nil {
		return err
	}
	if err := r.session.SetSamples(all, engine.TextFile{Path: r.texts[""]}); err != nil {
		return err
	}
	r.cached, r.window = all, need
	return nil
}

// shift numbers the samples of a micro-batch as the engine has them.
func (r *run) shift(batch engine.Batch) engine.Batch {
	if !r.recrops() {
		return batch
	}
	before := int(r.ready.Epochs.At(batch.Index)-r.window.first) * len(r.data.manifest.Samples)
	shifted := make([]int, len(batch.Samples))
	for i, sample := range batch.Samples {
		shifted[i] = sample + before
	}
	batch.Samples = shifted
	return batch
}
