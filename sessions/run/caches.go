package run

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/stepd/stepd/sessions/cache"
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
	err = r.fill(ctx, c)
	return errors.Join(err, c.Close())
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
	samples := make([]engine.Sample, len(r.data.manifest.Samples))
	for i, sample := range r.data.manifest.Samples {
		samples[i] = engine.Sample{Latents: latents[i], Text: texts[sample.Caption]}
	}
	return r.session.SetSamples(samples, engine.TextFile{Path: texts[""]})
}

// fillTexts returns the file of each caption, and of the empty one.
func (r *run) fillTexts(ctx context.Context, c *cache.Cache) (map[string]string, error) {
	model := r.job.Engine.Model
	component, err := c.ComponentHash(filepath.Join(model, "text_encoder"), filepath.Join(model, "tokenizer"))
	if err != nil {
		return nil, err
	}
	captions := []string{""}
	seen := map[string]bool{"": true}
	for _, sample := range r.data.manifest.Samples {
		if !seen[sample.Caption] {
			seen[sample.Caption] = true
			captions = append(captions, sample.Caption)
		}
	}
	items := make([]engine.TextItem, len(captions))
	recipes := make([]cache.Recipe, len(captions))
	for i, caption := range captions {
		items[i].IDs = r.data.encode(caption)
		recipes[i] = cache.Recipe{Kind: "text", Component: component, Source: caption, Settings: textSettings{IDs: items[i].IDs, DType: r.job.Engine.DType}}
	}
	paths, err := r.fillEntries(ctx, c, "encode_text", recipes, textsAtOnce, func(ctx context.Context, missing []int, out []string) error {
		chunk := make([]engine.TextItem, len(missing))
		for i, k := range missing {
			chunk[i] = items[k]
			chunk[i].Out = out[i]
		}
		return r.session.EncodeText(ctx, chunk)
	})
	files := map[string]string{}
	for i, path := range paths {
		files[captions[i]] = path
	}
	return files, err
}

type textSettings struct {
	IDs   []int32 `json:"ids"`
	DType string  `json:"dtype"`
}

// fillImages returns the file of each sample's latents.
func (r *run) fillImages(ctx context.Context, c *cache.Cache) ([]string, error) {
	component, err := c.ComponentHash(filepath.Join(r.job.Engine.Model, "vae"))
	if err != nil {
		return nil, err
	}
	samples := r.data.manifest.Samples
	recipes := make([]cache.Recipe, len(samples))
	for i := range samples {
		item := samples[i].ImageItem("")
		item.Path = ""
		recipes[i] = cache.Recipe{Kind: "latents", Component: component, Source: samples[i].Hash, Settings: imageSettings{item, r.job.Engine.DType}}
	}
	return r.fillEntries(ctx, c, "encode_images", recipes, imagesAtOnce, func(ctx context.Context, missing []int, out []string) error {
		chunk := make([]engine.ImageItem, len(missing))
		for i, k := range missing {
			chunk[i] = samples[k].ImageItem(out[i])
		}
		return r.session.EncodeImages(ctx, chunk)
	})
}

type imageSettings struct {
	Item  engine.ImageItem `json:"item"`
	DType string           `json:"dtype"`
}

// fillEntries returns the file of each recipe. encode is given the positions of recipes that are missing, and where to
// write them; recipes that are the same thing are made once.
func (r *run) fillEntries(ctx context.Context, c *cache.Cache, stage string, recipes []cache.Recipe, atOnce int,
	encode func(ctx context.Context, missing []int, out []string) error) ([]string, error) {
	keys := make([]cache.Key, len(recipes))
	paths := map[cache.Key]string{}
	var missing []int
	for i, recipe := range recipes {
		key, err := recipe.Key()
		if err != nil {
			return nil, err
		}
		keys[i] = key
		if _, seen := paths[key]; seen {
			continue
		}
		path, ok, err := c.Lookup(key)
		if err != nil {
			return nil, err
		}
		paths[key] = path
		if !ok {
			missing = append(missing, i)
		}
	}
	r.stage = stageProgress{stage: stage, total: int64(len(missing))}
	for len(missing) > 0 {
		chunk := missing[:min(atOnce, len(missing))]
		missing = missing[len(chunk):]
		if err := encodeChunk(ctx, c, keys, paths, chunk, encode); err != nil {
			return nil, err
		}
		r.stage.done += int64(len(chunk))
	}
	r.stage = stageProgress{}
	files := make([]string, len(recipes))
	for i, key := range keys {
		files[i] = paths[key]
	}
	return files, nil
}

func encodeChunk(ctx context.Context, c *cache.Cache, keys []cache.Key, paths map[cache.Key]string, chunk []int,
	encode func(ctx context.Context, missing []int, out []string) error) (err error) {
	pending := make([]*cache.Pending, len(chunk))
	out := make([]string, len(chunk))
	defer func() {
		for _, p := range pending {
			if p != nil {
				err = errors.Join(err, p.Discard())
			}
		}
	}()
	for i, k := range chunk {
		if pending[i], err = c.Begin(keys[k]); err != nil {
			return err
		}
		out[i] = pending[i].Path()
	}
	if err := encode(ctx, chunk, out); err != nil {
		return err
	}
	for i, k := range chunk {
		if paths[keys[k]], err = pending[i].Commit(); err != nil {
			return err
		}
	}
	return nil
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
