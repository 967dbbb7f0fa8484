package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stepd/stepd/sessions/cache"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
)

// Items encoded between two commits: what an interruption can cost.
const (
	imagesAtOnce = 64
	textsAtOnce  = 256
)

// fillCaches encodes what is not in the cache yet and tells the engine where everything is. Captions come first, so that
// the text encoder is gone before the picture encoder comes.
func (r *run) fillCaches(ctx context.Context) error {
	c, err := cache.Open(r.request.CacheDir)
	if err != nil {
		return err
	}
	r.caching = true
	err = r.fill(ctx, c)
	return errors.Join(err, c.Close())
}

// cacheIsGone tells whether the cache, or files that the training reads, have been removed.
func (r *run) cacheIsGone() bool {
	if _, err := os.Stat(r.request.CacheDir); r.caching && errors.Is(err, fs.ErrNotExist) {
		return true
	}
	for _, sample := range r.cached {
		for _, path := range []string{sample.Latents, sample.Text} {
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return true
			}
		}
	}
	return false
}

func (r *run) fill(ctx context.Context, c *cache.Cache) error {
	texts, err := r.fillTexts(ctx, c)
	if err != nil {
		return fmt.Errorf("encode captions: %w", err)
	}
	latents, err := r.fillImages(ctx, c)
	if err != nil {
		return fmt.Errorf("encode pictures: %w", err)
	}
	samples := make([]engine.Sample, len(latents))
	for i, sample := range r.data.manifest.Samples {
		samples[i] = engine.Sample{Latents: latents[i], Text: texts[sample.Caption]}
	}
	r.cached, r.texts = samples, texts
	if err := r.session.SetSamples(samples, engine.TextFile{Path: texts[""]}); err != nil {
		return err
	}
	return r.fillEvaluation(ctx, c, texts)
}

// fillTexts returns the file of each caption, and of the empty one.
func (r *run) fillTexts(ctx context.Context, c *cache.Cache) (map[string]string, error) {
	model := r.job.Engine.Model
	component, err := c.ComponentHash(filepath.Join(model, "text_encoder"), filepath.Join(model, "tokenizer"))
	if err != nil {
		return nil, err
	}
	captions := r.captions()
	items := make([]engine.TextItem, len(captions))
	recipes := make([]cache.Recipe, len(captions))
	cut := map[string]bool{}
	for i, caption := range captions {
		ids, whole := r.data.encodeWhole(caption)
		items[i].IDs, cut[caption] = ids, !whole
		recipes[i] = cache.Recipe{Kind: "text", Component: component, Source: caption, Settings: textSettings{IDs: items[i].IDs, DType: r.job.Engine.DType}}
	}
	r.warnOfCutCaptions(cut)
	f := filler{run: r, cache: c, stage: "encode_text", atOnce: textsAtOnce, encode: func(ctx context.Context, missing []int, out []string) error {
		chunk := make([]engine.TextItem, len(missing))
		for i, k := range missing {
			chunk[i] = items[k]
			chunk[i].Out = out[i]
		}
		return r.session.EncodeText(ctx, chunk)
	}}
	paths, err := f.fill(ctx, recipes)
	files := map[string]string{}
	for i, path := range paths {
		files[captions[i]] = path
	}
	return files, err
}

// captions lists the different captions, the empty one first.
func (r *run) captions() []string {
	captions := []string{""}
	seen := map[string]bool{"": true}
	for _, samples := range r.data.everySample() {
		for _, sample := range samples {
			if !seen[sample.Caption] {
				seen[sample.Caption] = true
				captions = append(captions, sample.Caption)
			}
		}
	}
	return captions
}

// warnOfCutCaptions counts, by dataset, the samples whose caption is longer than the model takes.
func (r *run) warnOfCutCaptions(cut map[string]bool) {
	counts := map[string]int{}
	var datasets []string
	for _, samples := range r.data.everySample() {
		for _, sample := range samples {
			if !cut[sample.Caption] {
				continue
			}
			if counts[sample.Dataset] == 0 {
				datasets = append(datasets, sample.Dataset)
			}
			counts[sample.Dataset]++
		}
	}
	for _, id := range datasets {
		r.reporter.Warning(fmt.Sprintf("dataset %s: the captions of %d samples are longer than %d tokens; what comes after is left out", id,
			counts[id], r.data.length))
	}
}

type textSettings struct {
	IDs   []int32 `json:"ids"`
	DType string  `json:"dtype"`
}

// fillImages returns the file of each sample's latents. With SkipBadImages, samples whose picture cannot be decoded leave
// the data set.
func (r *run) fillImages(ctx context.Context, c *cache.Cache) ([]string, error) {
	samples, dropped := r.data.manifest.Samples, map[int]bool{}
	bad, verdict := r.collectBad(samples)
	if r.job.SkipBadImages {
		bad, verdict = r.dropBad(samples, dropped), nil
	}
	paths, err := r.fillLatents(ctx, c, samples, bad, verdict)
	if err != nil || len(dropped) == 0 {
		return paths, err
	}
	var kept []string
	for i, path := range paths {
		if path == "" {
			dropped[i] = true // the same picture and crop as one that was dropped
		} else {
			kept = append(kept, path)
		}
	}
	return kept, r.dropSamples(dropped)
}

// dropBad returns what names a picture that cannot be decoded in a warning and notes it.
func (r *run) dropBad(samples []dataset.Sample, dropped map[int]bool) func(k int, err error) {
	return func(k int, err error) {
		dropped[k] = true
		r.reporter.Warning(fmt.Sprintf("picture is left out: %s: %v", samples[k].Path, err))
	}
}

// fillLatents returns the file of each sample's latents, "" where the picture cannot be decoded. bad and verdict are those
// of filler.
func (r *run) fillLatents(ctx context.Context, c *cache.Cache, samples []dataset.Sample, bad func(k int, err error), verdict func() error) ([]string, error) {
	component, err := c.ComponentHash(filepath.Join(r.job.Engine.Model, "vae"))
	if err != nil {
		return nil, err
	}
	recipes := make([]cache.Recipe, len(samples))
	for i := range samples {
		item := samples[i].ImageItem("")
		item.Path = ""
		// The precision of the run is no setting here: engines encode pictures in fp32.
		recipes[i] = cache.Recipe{Kind: "latents", Component: component, Source: samples[i].Hash, Settings: item}
	}
	f := filler{run: r, cache: c, stage: "encode_images", atOnce: imagesAtOnce, bad: bad, verdict: verdict, encode: func(ctx context.Context, missing []int, out []string) error {
		chunk := make([]engine.ImageItem, len(missing))
		for i, k := range missing {
			chunk[i] = samples[k].ImageItem(out[i])
		}
		return r.session.EncodeImages(ctx, chunk)
	}}
	return f.fill(ctx, recipes)
}

// collectBad returns what makes one error of all the pictures that cannot be decoded. Each is told at once, for the others
// may take long.
func (r *run) collectBad(samples []dataset.Sample) (bad func(k int, err error), verdict func() error) {
	var problems []dataset.Problem
	named := map[string]bool{} // a picture may be in several samples
	bad = func(k int, err error) {
		if path := samples[k].Path; !named[path] {
			named[path] = true
			problem := dataset.Problem{Path: path, Reason: err.Error()}
			problems = append(problems, problem)
			r.reporter.Log("picture cannot be used; the run ends when all others are read: " + problem.String())
		}
	}
	verdict = func() error {
		if len(problems) == 0 {
			return nil
		}
		return engine.Errorf(engine.Invalid, "%v", &dataset.BadPicturesError{Bad: problems})
	}
	return bad, verdict
}

// stageProgress makes the progress of chunks that of the whole list.
type stageProgress struct {
	stage       string
	done, total int64
}

func (p stageProgress) whole(e engine.ProgressEvent) engine.ProgressEvent {
	if p.stage == e.Stage {
		e.Done += p.done
		e.Total = p.total
	}
	return e
}
