package run

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/tokenize"
)

// Bucket steps in pixels for datasets that name none: one latent patch of 2×2 latents of 8×8 pixels, or the customary 64.
const (
	patchStep     = 16
	customaryStep = 64
)

// data is the data set of the run, in memory.
type data struct {
	manifest  *dataset.Manifest
	plan      *dataset.Plan
	shapes    []engine.Shape
	tokenizer *tokenize.T5
	length    int // of token ids, at most
	evaluated []*evaluated
}

// scan reads the folders of the job and plans the micro-batches.
func (r *run) scan(ctx context.Context) error {
	r.reporter.OnProgress(engine.ProgressEvent{Stage: "scan"})
	manifest, err := dataset.Build(ctx, dataset.Request{Datasets: withBucketSteps(r.job.Datasets), Prober: r.engine, Seed: r.job.Engine.Seed,
		BucketStep: customaryStep, SkipBad: r.job.SkipBadImages, Allowed: r.request.Limit.Check, Progress: func(done, total int) {
			r.reporter.OnProgress(engine.ProgressEvent{Stage: "scan", Done: int64(done), Total: int64(total)})
		}})
	if err != nil {
		return fmt.Errorf("scan data: %w", err)
	}
	for _, warning := range manifest.Warnings {
		r.reporter.Warning(warning)
	}
	for _, problem := range manifest.Bad {
		r.reporter.Warning("picture is left out: " + problem.String())
	}
	plan, err := dataset.PlanJob(r.job, manifest.Samples)
	if err != nil {
		return err
	}
	tokenizer, err := tokenize.Load(filepath.Join(r.job.Engine.Model, "tokenizer"))
	if err != nil {
		return engine.Errorf(engine.NotFound, "model %s: %v", r.job.Engine.Model, err)
	}
	evaluated, err := r.scanEvaluation(ctx)
	if err != nil {
		return err
	}
	r.data = &data{manifest: manifest, plan: plan, shapes: append(shapes(manifest, plan, r.job.Engine.TextTokens), evaluationShapes(evaluated, r.job)...), tokenizer: tokenizer,
		length: r.job.Engine.TextTokens, evaluated: evaluated}
	r.reporter.Log(fmt.Sprintf("%d samples, bucket sizes: %d (%s), %d micro-batches in the first epoch", len(manifest.Samples),
		len(manifest.Buckets()), describe(manifest.Buckets()), plan.Epochs().Length(0)))
	return nil
}

// withBucketSteps fills in the customary step of each style.
func withBucketSteps(datasets []job.Dataset) []job.Dataset {
	filled := append([]job.Dataset(nil), datasets...)
	for i := range filled {
		if filled[i].BucketStep == 0 && filled[i].BucketStyle == "aitoolkit" {
			filled[i].BucketStep = patchStep
		}
	}
	return filled
}

func describe(buckets []dataset.Size) string {
	names := make([]string, len(buckets))
	for i, bucket := range buckets {
		names[i] = bucket.String()
	}
	return strings.Join(names, " ")
}

// shapes lists the largest micro-batch of each bucket.
func shapes(m *dataset.Manifest, plan *dataset.Plan, tokens int) []engine.Shape {
	var shapes []engine.Shape
	for _, bucket := range m.Buckets() {
		shapes = append(shapes, engine.Shape{Width: bucket.Width, Height: bucket.Height, TextTokens: tokens, Batch: plan.Largest(bucket)})
	}
	return shapes
}

// encode returns the token ids of a caption or prompt without padding.
func (d *data) encode(text string) []int32 {
	ids, _ := d.encodeWhole(text)
	return ids
}

// encodeWhole also tells whether the text is longer than the model takes, so that its end is left out.
func (d *data) encodeWhole(text string) (ids []int32, whole bool) {
	ids, length := d.tokenizer.Encode(tokenize.Clean(text), d.length+1)
	if length <= d.length {
		return ids[:length], true
	}
	return append(ids[:d.length-1], ids[length-1]), false
}

// dropSamples plans the micro-batches again without samples that turned out to be of no use.
func (r *run) dropSamples(dropped map[int]bool) error {
	m := r.data.manifest
	var kept []dataset.Sample
	for i, sample := range m.Samples {
		if !dropped[i] {
			kept = append(kept, sample)
		}
	}
	if len(kept) == 0 {
		return engine.Errorf(engine.Invalid, "not one picture can be decoded; repair the pictures of the job's datasets")
	}
	m.Samples = kept
	plan, err := dataset.PlanJob(r.job, m.Samples)
	r.data.plan = plan
	return err
}
