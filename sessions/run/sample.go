package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// sample makes the validation pictures of this step. Failures are reported and training goes on, unless the session was
// lost.
func (r *run) sample(ctx context.Context) error {
	r.control.answered(func(pending *requests) { pending.sample = false })
	if !r.hasSamples() {
		return nil
	}
	ctx, cancel := r.control.onEnd(ctx)
	defer cancel()
	err := r.validate(ctx)
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

// hasSamples tells whether there is anything to make.
func (r *run) hasSamples() bool { return len(r.job.Sampling.Prompts) > 0 || r.validation() != nil }

// validation is the script that takes the place of pictures; nil: none.
func (r *run) validation() *job.Script {
	if r.job.Scripts == nil {
		return nil
	}
	return r.job.Scripts.Validation
}

func (r *run) validate(ctx context.Context) error {
	if validation := r.validation(); validation != nil {
		return r.scripts.validate(validation)
	}
	err := r.makeSamples(ctx)
	if r.preview > 0 && worksWithoutPreviews(err) {
		err = r.withoutPreviews(ctx, err)
	}
	r.sampled = r.sampled || err == nil
	return err
}

// withoutPreviews tries again, and does without previews for good when that helps.
func (r *run) withoutPreviews(ctx context.Context, cause error) error {
	wanted := r.preview
	r.preview = 0
	if err := r.makeSamples(ctx); err != nil {
		r.preview = wanted
		return err
	}
	r.reporter.Warning(fmt.Sprintf("there are no previews from now on: %v", cause))
	return nil
}

// missedPictures tells whether this run starts at a step whose pictures the one before it did not come to make.
func (r *run) missedPictures() bool {
	sampling := r.job.Sampling
	if r.step == 0 || r.validation() != nil || len(sampling.Prompts) == 0 {
		return false
	}
	due := isMultiple(r.step, sampling.Every) || r.ready.followsEpochs(sampling.EveryEpochs) || sampling.Last && r.step >= r.job.End()
	return due && !arePictured(r.job, r.step, r.pictureKeys())
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
	prompt   job.Prompt
	index    int    // among the pictures of the step
	stem     string // of the file
	averaged bool   // of averaged weights, beside one of the trained weights
	request  engine.SampleRequest
}

// makeSamples writes into a temporary folder and renames, so that a picture that is there is whole.
func (r *run) makeSamples(ctx context.Context) error {
	dir := sampleDir(r.job)
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
		if err := os.Rename(p.request.Out, filepath.Join(dir, p.stem+".png")); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Remove(tmp), checkpoint.OS{}.Sync(dir)); err != nil {
		return err
	}
	for _, p := range pictures {
		r.reporter.Sample(Sample{Step: r.step, Index: p.index, Path: filepath.Join(dir, p.stem+".png"), Prompt: p.prompt})
	}
	return nil
}

// pictures lists what to make at this step.
func (r *run) pictures(made time.Time) []picture {
	var pictures []picture
	named := map[string]int{}
	for position, p := range r.job.Sampling.Prompts {
		for row := range max(p.Count, 1) {
			for _, averaged := range r.weightsOfSamples() {
				label := p.Name
				if label == "" {
					label = strconv.Itoa(position)
				}
				beside := averaged && r.job.Sampling.Weights == job.SampleBoth
				if beside {
					label += "_ema"
				}
				index := len(pictures)
				pictures = append(pictures, picture{prompt: p, index: index, averaged: beside,
					stem: sampleStem(r.job.Save.Style, made, r.step, index, label, named[label], p), request: r.sampleRequest(p, row, averaged)})
				named[label]++
			}
		}
	}
	return pictures
}

// weightsOfSamples lists whether to use the averaged weights.
func (r *run) weightsOfSamples() []bool {
	switch {
	case r.job.Engine.EMA == nil || r.job.Sampling.Weights == job.SampleTrained:
		return []bool{false}
	case r.job.Sampling.Weights == job.SampleBoth:
		return []bool{false, true}
	default:
		return []bool{true}
	}
}

func (r *run) sampleRequest(p job.Prompt, row int, averaged bool) engine.SampleRequest {
	request := engine.SampleRequest{IDs: r.data.encode(p.Text), NegativeIDs: r.data.encode(p.Negative), Width: p.Width, Height: p.Height,
		Steps: p.Steps, Guidance: p.Guidance, Seed: p.Seed, Sampler: p.Sampler, EMA: averaged}
	if p.Count > 1 {
		request.BatchIndex, request.BatchSize = row, p.Count
	}
	return request
}

// pictureKeys are the columns of the contact sheet.
func (r *run) pictureKeys() []column {
	var columns []column
	for _, p := range r.pictures(time.Time{}) {
		if _, key, ok := parseSampleName(r.job.Save.Style, p.stem+".png"); ok {
			columns = append(columns, column{key, p.title()})
		}
	}
	return columns
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
	if e.Error != "" {
		r.preview = 0
		r.reporter.Warning("there are no previews from now on: " + e.Error)
		return
	}
	p := r.sampling[e.Request]
	r.reporter.Preview(Preview{Step: r.step, Index: p.index, SamplingStep: e.Step, SamplingSteps: e.Steps, Timestep: e.Timestep,
		Path: e.Path, Prompt: p.prompt})
}

// sampleStem names a picture: step, then the prompt's name or position. AI-Toolkit puts the time in front, in
// milliseconds, and its clients read step and position from the end of the name. SimpleTuner counts the pictures of one
// label.
func sampleStem(style string, made time.Time, step int64, index int, label string, ofLabel int, p job.Prompt) string {
	switch {
	case style == job.StyleAIToolkit:
		return fmt.Sprintf("%013d__%09d_%d", max(made.UnixMilli(), 0), step, index)
	case style == job.StyleSimpleTuner:
		return fmt.Sprintf("step_%d_%s_%d_%dx%d", step, label, ofLabel, p.Width, p.Height)
	case p.Name == "":
		return fmt.Sprintf("%09d_%d", step, index)
	default:
		return fmt.Sprintf("%09d_%s_%d", step, label, index)
	}
}
