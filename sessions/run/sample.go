package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	if r.preview > 0 && worksWithoutPreviews(err) {
		r.preview = 0
		r.reporter.Warning(fmt.Sprintf("there are no previews from now on: %v", err))
		err = r.makeSamples(ctx)
	}
	switch {
	case err == nil || r.control.ending():
		return nil
	case isLost(err):
		return fmt.Errorf("sample at step %d: %w", r.step, err)
	}
	r.reporter.SampleFailed(r.step, err)
	r.reporter.Log(fmt.Sprintf("samples of step %d failed: %v", r.step, err))
	return nil
}

// isLost tells whether err is of an engine that can only be closed.
func isLost(err error) bool {
	var failure *engine.Error
	return errors.As(err, &failure) && (failure.Code == engine.DeviceLost || failure.Code == engine.Internal)
}

// worksWithoutPreviews tells whether err, of an engine that was asked for previews, may be due to them.
func worksWithoutPreviews(err error) bool { return err != nil && !isLost(err) && !isCancelled(err) }

// picture is one picture to make.
type picture struct {
	prompt  job.Prompt
	index   int    // among the pictures of the step
	stem    string // of the file
	request engine.SampleRequest
}

// makeSamples writes into a temporary folder and renames, so that a picture that is there is whole.
func (r *run) makeSamples(ctx context.Context) error {
	dir := r.sampleDir()
	tmp := filepath.Join(dir, ".tmp")
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o755)); err != nil {
		return err
	}
	pictures := r.pictures(time.Now())
	requests := make([]engine.SampleRequest, len(pictures))
	for i := range pictures {
		pictures[i].request.Out = filepath.Join(tmp, pictures[i].stem+".png")
		requests[i] = pictures[i].request
	}
	if err := r.previewInto(filepath.Join(dir, "previews"), pictures, requests); err != nil {
		return err
	}
	r.sampling = pictures
	if err := r.session.Sample(ctx, requests); err != nil {
		return err
	}
	for _, p := range pictures {
		path := filepath.Join(dir, p.stem+".png")
		if err := os.Rename(p.request.Out, path); err != nil {
			return err
		}
		r.reporter.Sample(Sample{Step: r.step, Index: p.index, Path: path, Prompt: p.prompt})
	}
	return os.Remove(tmp)
}

// pictures lists what to make at this step.
func (r *run) pictures(made time.Time) []picture {
	pictures := make([]picture, len(r.job.Sampling.Prompts))
	named := map[string]int{}
	for i, p := range r.job.Sampling.Prompts {
		pictures[i] = picture{prompt: p, index: i, stem: sampleStem(r.job.Save.Style, made, r.step, i, named[p.Name], p),
			request: engine.SampleRequest{IDs: r.data.encode(p.Text), NegativeIDs: r.data.encode(p.Negative), Width: p.Width,
				Height: p.Height, Steps: p.Steps, Guidance: p.Guidance, Seed: p.Seed, Sampler: p.Sampler, EMA: r.job.Engine.EMA != nil}}
		named[p.Name]++
	}
	return pictures
}

// previewInto asks for previews, while they are wanted and work.
func (r *run) previewInto(dir string, pictures []picture, requests []engine.SampleRequest) error {
	if r.preview == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i, p := range pictures {
		requests[i].Preview = &engine.Preview{Every: r.preview, Out: filepath.Join(dir, p.stem+"_"+engine.PreviewPlaceholder+".png")}
	}
	return nil
}

// onPreview is called while Sample runs, so the list of pictures does not change.
func (r *run) onPreview(e engine.PreviewEvent) {
	if e.Request < 0 || e.Request >= len(r.sampling) {
		return
	}
	p := r.sampling[e.Request]
	r.reporter.Preview(Preview{Step: r.step, Index: p.index, SamplingStep: e.Step, SamplingSteps: e.Steps, Timestep: e.Timestep,
		Path: e.Path, Prompt: p.prompt})
}

// sampleDir is where pictures go.
func (r *run) sampleDir() string {
	if r.job.Save.Style == job.StyleSimpleTuner {
		return filepath.Join(r.folder.Dir(), "validation_images")
	}
	return filepath.Join(r.folder.Dir(), "samples")
}

// sampleStem names a picture: step, then the prompt's name or position. AI-Toolkit puts the time in front, in
// milliseconds, and its clients read step and position from the end of the name. SimpleTuner counts the pictures of one
// name.
func sampleStem(style string, made time.Time, step int64, index, ofName int, p job.Prompt) string {
	name := p.Name
	if name == "" {
		name, ofName = strconv.Itoa(index), 0
	}
	switch {
	case style == job.StyleAIToolkit:
		return fmt.Sprintf("%d__%09d_%d", made.UnixMilli(), step, index)
	case style == job.StyleSimpleTuner:
		return fmt.Sprintf("step_%d_%s_%d_%dx%d", step, name, ofName, p.Width, p.Height)
	case p.Name == "":
		return fmt.Sprintf("%09d_%d", step, index)
	default:
		return fmt.Sprintf("%09d_%s_%d", step, p.Name, index)
	}
}
