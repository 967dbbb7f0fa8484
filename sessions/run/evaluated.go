package run

import (
	"context"
	"fmt"
	"slices"

	"github.com/stepd/stepd/sessions/cache"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// evaluated is a dataset that is not trained on.
type evaluated struct {
	id      string
	samples []dataset.Sample // bucket by bucket, in the order of the file names
	cached  []engine.Sample  // of samples, once the caches are filled
}

// scanEvaluation reads the datasets to evaluate. One that cannot be read is left out with a warning: it is not trained on.
func (r *run) scanEvaluation(ctx context.Context) ([]*evaluated, error) {
	if r.job.Evaluation == nil {
		return nil, nil
	}
	var sets []*evaluated
	for _, d := range withBucketSteps(r.job.Evaluation.Datasets) {
		d.Repeats, d.FlipX, d.FlipY = 1, false, false
		if most := r.job.Evaluation.Pictures; most > 0 && (d.MaxSamples == 0 || d.MaxSamples > most) {
			d.MaxSamples = most
		}
		manifest, err := dataset.Build(ctx, dataset.Request{Datasets: []job.Dataset{d}, Prober: r.engine, Seed: evaluationSeed,
			BucketStep: customaryStep, SkipBad: true, Allowed: r.request.Limit.Check})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.reporter.Warning(fmt.Sprintf("dataset %s is not evaluated: %v", d.ID, err))
			continue
		}
		for _, problem := range manifest.Bad {
			r.reporter.Warning("picture is not evaluated: " + problem.String())
		}
		sets = append(sets, &evaluated{id: d.ID, samples: byBucket(manifest)})
	}
	return sets, nil
}

// byBucket lists each picture with its first caption.
func byBucket(m *dataset.Manifest) []dataset.Sample {
	var samples []dataset.Sample
	for _, bucket := range m.Buckets() {
		for _, sample := range m.Samples {
			if sample.Bucket == bucket && sample.Variant == 0 {
				samples = append(samples, sample)
			}
		}
	}
	return samples
}

// everySample lists the samples to train on, then those to evaluate.
func (d *data) everySample() [][]dataset.Sample {
	all := [][]dataset.Sample{d.manifest.Samples}
	for _, set := range d.evaluated {
		all = append(all, set.samples)
	}
	return all
}

// ends returns where each micro-batch ends: at the batch size, or with its bucket.
func (e *evaluated) ends(batchSize int) []int {
	var ends []int
	start := 0
	for i := range e.samples {
		if i+1 == len(e.samples) || i+1-start == batchSize || e.samples[i+1].Bucket != e.samples[i].Bucket {
			ends = append(ends, i+1)
			start = i + 1
		}
	}
	return ends
}

// batches lists the micro-batches.
func (e *evaluated) batches(j *job.Job) []engine.Evaluation {
	var batches []engine.Evaluation
	start := 0
	for _, end := range e.ends(j.BatchSize) {
		batches = append(batches, engine.Evaluation{Samples: e.cached[start:end], First: start, Seed: evaluationSeed, Timesteps: j.Evaluation.Timesteps})
		start = end
	}
	return batches
}

// evaluationShapes lists the micro-batches of the datasets to evaluate, each size once.
func evaluationShapes(sets []*evaluated, j *job.Job) []engine.Shape {
	var shapes []engine.Shape
	for _, set := range sets {
		start := 0
		for _, end := range set.ends(j.BatchSize) {
			size := set.samples[start].Bucket
			shape := engine.Shape{Width: size.Width, Height: size.Height, TextTokens: j.Engine.TextTokens, Batch: end - start, Evaluation: true}
			if !slices.Contains(shapes, shape) {
				shapes = append(shapes, shape)
			}
			start = end
		}
	}
	return shapes
}

// fillEvaluation caches the latents of the datasets to evaluate, whose captions texts has. Pictures that cannot be decoded
// are left out with a warning, and so is a dataset without any other.
func (r *run) fillEvaluation(ctx context.Context, c *cache.Cache, texts map[string]string) error {
	var sets []*evaluated
	for _, set := range r.data.evaluated {
		bad := func(k int, err error) {
			r.reporter.Warning(fmt.Sprintf("picture is not evaluated: %s: %v", set.samples[k].Path, err))
		}
		paths, err := r.fillLatents(ctx, c, set.samples, bad, nil)
		if err != nil {
			return err
		}
		whole := &evaluated{id: set.id}
		for i, path := range paths {
			if path != "" {
				whole.samples = append(whole.samples, set.samples[i])
				whole.cached = append(whole.cached, engine.Sample{Latents: path, Text: texts[set.samples[i].Caption]})
			}
		}
		if len(whole.samples) == 0 {
			r.reporter.Warning(fmt.Sprintf("dataset %s is not evaluated: not one of its pictures can be decoded", set.id))
			continue
		}
		sets = append(sets, whole)
	}
	r.data.evaluated = sets
	return nil
}
