package run

import (
	"context"
	"errors"

	"github.com/stepd/stepd/sessions/cache"
	"github.com/stepd/stepd/sessions/engine"
)

// filler makes the entries that a cache lacks.
type filler struct {
	run    *run
	cache  *cache.Cache
	stage  string // of progress events
	atOnce int    // entries between two commits
	// encode is given positions of recipes, and where to write their files.
	encode func(ctx context.Context, missing []int, out []string) error
	// bad is told of each item of a chunk that cannot be encoded. Without bad the error ends the filling.
	bad func(position int, err error)
	// verdict, asked when all others are made, tells whether to go on without the bad ones; nil goes on.
	verdict func() error

	keys  []cache.Key
	paths map[cache.Key]string
}

// fill returns the file of each recipe, "" where bad let it go. Recipes that are the same thing are made once.
func (f *filler) fill(ctx context.Context, recipes []cache.Recipe) ([]string, error) {
	missing, err := f.lookUp(recipes)
	if err != nil {
		return nil, err
	}
	r := f.run
	r.stage = stageProgress{stage: f.stage, total: int64(len(missing))}
	for len(missing) > 0 {
		chunk := missing[:min(f.atOnce, len(missing))]
		missing = missing[len(chunk):]
		if err := f.make(ctx, chunk); err != nil {
			return nil, err
		}
		r.stage.done += int64(len(chunk))
	}
	r.stage = stageProgress{}
	if f.verdict != nil {
		if err := f.verdict(); err != nil {
			return nil, err
		}
	}
	files := make([]string, len(recipes))
	for i, key := range f.keys {
		files[i] = f.paths[key]
	}
	return files, nil
}

// lookUp returns the positions of the recipes to make.
func (f *filler) lookUp(recipes []cache.Recipe) (missing []int, err error) {
	f.keys, f.paths = make([]cache.Key, len(recipes)), map[cache.Key]string{}
	for i, recipe := range recipes {
		key, err := recipe.Key()
		if err != nil {
			return nil, err
		}
		f.keys[i] = key
		if _, seen := f.paths[key]; seen {
			continue
		}
		path, ok, err := f.cache.Lookup(key)
		if err != nil {
			return nil, err
		}
		f.paths[key] = path
		if !ok {
			missing = append(missing, i)
		}
	}
	return missing, nil
}

// make encodes a chunk. One that fails because of an item is halved until each such item is found.
func (f *filler) make(ctx context.Context, chunk []int) error {
	err := f.run.whenSpace(ctx, "cache", func() error { return f.encodeChunk(ctx, chunk) })
	if f.bad == nil || !isOfItem(err) {
		return err
	}
	if len(chunk) == 1 {
		f.bad(chunk[0], err)
		return nil
	}
	half := len(chunk) / 2
	if err := f.make(ctx, chunk[:half]); err != nil {
		return err
	}
	return f.make(ctx, chunk[half:])
}

// isOfItem tells whether err may be due to one item of several.
func isOfItem(err error) bool {
	var failure *engine.Error
	if !errors.As(err, &failure) || isDiskFull(err) {
		return false
	}
	return failure.Code == engine.Invalid || failure.Code == engine.NotFound || failure.Code == engine.Unsupported
}

func (f *filler) encodeChunk(ctx context.Context, chunk []int) (err error) {
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
		if pending[i], err = f.cache.Begin(f.keys[k]); err != nil {
			return err
		}
		out[i] = pending[i].Path()
	}
	if err := f.encode(ctx, chunk, out); err != nil {
		return err
	}
	for i, k := range chunk {
		if f.paths[f.keys[k]], err = pending[i].Commit(); err != nil {
			return err
		}
	}
	return nil
}
