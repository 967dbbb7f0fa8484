package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// sample makes the validation pictures of this step. Failures are reported and training goes on, unless the session was
// lost.
func (r *run) sample(ctx context.Context) error {
	if len(r.job.Sampling.Prompts) == 0 {
		return nil
	}
	ctx, cancel := r.control.onEnd(ctx)
	defer cancel()
	err := r.makeSamples(ctx)
	var failure *engine.Error
	switch {
	case err == nil || r.control.ending():
		return nil
	case errors.As(err, &failure) && (failure.Code == engine.DeviceLost || failure.Code == engine.Internal):
		return fmt.Errorf("sample at step %d: %w", r.step, err)
	}
	r.reporter.SampleFailed(r.step, err)
	r.reporter.Log(fmt.Sprintf("samples of step %d failed: %v", r.step, err))
	return nil
}

// makeSamples writes into a temporary folder and renames, so that a picture that is there is whole.
func (r *run) makeSamples(ctx context.Context) error {
	dir := filepath.Join(r.folder.Dir(), "samples")
	tmp := filepath.Join(dir, ".tmp")
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return err
	}
	made := time.Now()
	requests := make([]engine.SampleRequest, len(r.job.Sampling.Prompts))
	for i, p := range r.job.Sampling.Prompts {
		requests[i] = engine.SampleRequest{IDs: r.data.encode(p.Text), NegativeIDs: r.data.encode(p.Negative), Width: p.Width,
			Height: p.Height, Steps: p.Steps, Guidance: p.Guidance, Seed: p.Seed, Sampler: p.Sampler, EMA: r.job.Engine.EMA != nil,
			Out: filepath.Join(tmp, sampleName(r.job.Save.Style, made, r.step, i, p))}
	}
	if err := r.session.Sample(ctx, requests); err != nil {
		return err
	}
	for i, request := range requests {
		path := filepath.Join(dir, filepath.Base(request.Out))
		if err := os.Rename(request.Out, path); err != nil {
			return err
		}
		r.reporter.Sample(Sample{Step: r.step, Index: i, Path: path, Prompt: r.job.Sampling.Prompts[i]})
	}
	return os.Remove(tmp)
}

// sampleName is the file of a picture: step, then the prompt's name or position. AI-Toolkit puts the time in front, in
// milliseconds, and its clients read step and position from the end of the name.
func sampleName(style string, made time.Time, step int64, index int, p job.Prompt) string {
	if style == job.StyleAIToolkit {
		return fmt.Sprintf("%d__%09d_%d.png", made.UnixMilli(), step, index)
	}
	if p.Name != "" {
		return fmt.Sprintf("%09d_%s_%d.png", step, p.Name, index)
	}
	return fmt.Sprintf("%09d_%d.png", step, index)
}
