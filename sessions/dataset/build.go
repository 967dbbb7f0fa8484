package dataset

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// Prober reads the size of a picture without decoding it whole; an
// engine.Engine is one. It is called from several goroutines.
type Prober interface {
	// Probe returns the size after EXIF orientation.
	Probe(path string) (engine.Picture, error)
}

// Request asks Build for a Manifest.
type Request struct {
	Datasets []job.Dataset
	Prober   Prober
	// Seed of the run; random crops follow from it.
	Seed uint64
	// BucketStep in pixels, for datasets that name none.
	BucketStep int
	// SkipBad leaves out pictures that cannot be used, instead of failing.
	SkipBad bool
	// CountOnly leaves out the hashes of files, for callers that only want to know how many samples and batches there are.
	CountOnly bool
	// Allowed tells whether a caption map may name a picture outside its folder; nil: any.
	Allowed func(path string) error
	// Progress is told how many of how many pictures of all datasets are read; may be nil. It is called from several
	// goroutines.
	Progress func(done, total int)
}

// BadPicturesError lists pictures that could not be used.
type BadPicturesError struct {
	Bad []Problem
}

// shownProblems bounds the length of the error's text; Bad is complete.
const shownProblems = 50

// SkipBadOptions names the options that leave out pictures that cannot be used.
const SkipBadOptions = "train.skip_bad_images in AI-Toolkit's jobs, delete_problematic_images in SimpleTuner's"

func (e *BadPicturesError) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d pictures cannot be used; repair or remove them, or train without them (%s):", len(e.Bad), SkipBadOptions)
	for i, p := range e.Bad {
		if i == shownProblems {
			fmt.Fprintf(&text, "\n  and %d more", len(e.Bad)-i)
			break
		}
		fmt.Fprintf(&text, "\n  %s", p)
	}
	return text.String()
}

// Build reads all datasets of a job. Unless the request skips bad pictures, it
// fails with a *BadPicturesError that lists all of them.
func Build(ctx context.Context, r Request) (*Manifest, error) {
	b := &builder{request: r, manifest: &Manifest{}}
	defer b.close()
	if err := b.scan(ctx); err != nil {
		return nil, err
	}
	if err := b.read(ctx); err != nil {
		return nil, fmt.Errorf("read pictures: %w", err)
	}
	for _, set := range b.sets {
		if err := b.arrange(set); err != nil {
			return nil, fmt.Errorf("dataset %s: %w", set.config.ID, err)
		}
	}
	m := b.manifest
	if len(m.Bad) > 0 && !r.SkipBad {
		return nil, &BadPicturesError{Bad: m.Bad}
	}
	if len(m.Samples) == 0 {
		return nil, fmt.Errorf("no picture is left to train on: %s", b.summary())
	}
	return m, nil
}

// builder is the state of one Build.
type builder struct {
	request  Request
	sets     []*set
	manifest *Manifest
	pictures int // in the manifest so far, mirrored copies included
}

// set is one dataset at work.
type set struct {
	config  *job.Dataset
	source  *source
	filters []job.CaptionFilter
	facts   []facts // of source.pictures
}

// facts are what is read of a picture.
type facts struct {
	size     Size
	hash     string
	captions []string // at least one
	empty    bool     // no caption was found
	err      error
}

func (b *builder) close() {
	for _, s := range b.sets {
		_ = s.source.close() // only read from
	}
}

func (b *builder) scan(ctx context.Context) error {
	for i := range b.request.Datasets {
		config := &b.request.Datasets[i]
		source, err := openSource(config.Folder)
		if err != nil {
			return fmt.Errorf("dataset %s: scan %s: %w", config.ID, config.Folder, err)
		}
		source.restrict(b.request.Allowed)
		s := &set{config: config, source: source}
		b.sets = append(b.sets, s)
		if s.filters, err = captionFilters(config); err != nil {
			return fmt.Errorf("dataset %s: %w", config.ID, err)
		}
		if len(source.pictures) == 0 && len(source.bad) == 0 {
			return fmt.Errorf("dataset %s: %s holds no pictures (%s)", config.ID, config.Folder, extensionList())
		}
		if config.Table == nil {
			continue
		}
		remarks, out, err := source.join(ctx, config.Table)
		if err != nil {
			return fmt.Errorf("dataset %s: %w", config.ID, err)
		}
		for _, remark := range remarks {
			b.manifest.Warnings = append(b.manifest.Warnings, fmt.Sprintf("dataset %s: %s", config.ID, remark))
		}
		b.manifest.Filtered = append(b.manifest.Filtered, out...)
	}
	return nil
}

// read collects the facts of all pictures, several at a time.
func (b *builder) read(ctx context.Context) error {
	type task struct {
		set   *set
		index int
	}
	var tasks []task
	for _, s := range b.sets {
		s.facts = make([]facts, len(s.source.pictures))
		for i := range s.source.pictures {
			tasks = append(tasks, task{s, i})
		}
	}
	var next, done atomic.Int64
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(tasks)) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(tasks) {
					return
				}
				t := tasks[i]
				t.set.facts[t.index] = t.set.read(b.request.Prober, t.set.source.pictures[t.index], !b.request.CountOnly)
				if b.request.Progress != nil {
					b.request.Progress(int(done.Add(1)), len(tasks))
				}
			}
		})
	}
	group.Wait()
	return ctx.Err()
}

func (s *set) read(prober Prober, p picture, hash bool) (f facts) {
	if p.problem != "" {
		f.err = errors.New(p.problem)
		return f
	}
	if hash {
		if f.hash, f.err = s.source.hash(p.name); f.err != nil {
			f.err = fmt.Errorf("cannot be read: %w", f.err)
			return f
		}
	}
	probed, err := prober.Probe(s.source.path(p.name))
	if err != nil {
		f.err = fmt.Errorf("is not a readable picture: %w", err)
		return f
	}
	f.size = Size{probed.Width, probed.Height}
	f.captions, f.empty, f.err = s.source.captions(s.config, s.filters, p)
	return f
}

// hash is the SHA-256 of a file in hexadecimal digits.
func (s *source) hash(name string) (sum string, err error) {
	file, err := s.open(name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// arrange turns the pictures of a set into samples: first all as they are, then copies mirrored left to right, then
// copies of all those mirrored top to bottom; each with its further captions behind it.
func (b *builder) arrange(s *set) error {
	geometry, err := newGeometry(s.config, b.request.BucketStep)
	if err != nil {
		return err
	}
	m := b.manifest
	m.Bad = append(m.Bad, s.source.bad...)
	var samples []Sample
	empty := 0
	for _, i := range b.choose(s, b.usable(s, geometry)) {
		p, f := s.source.pictures[i], s.facts[i]
		random := b.random(b.pictures + len(samples))
		placement, reason := geometry.place(f.size, random)
		if reason != "" {
			m.Filtered = append(m.Filtered, Problem{s.source.path(p.name), reason})
			continue
		}
		if reason := oversize(f.size, placement); reason != "" {
			m.Bad = append(m.Bad, Problem{s.source.path(p.name), reason})
			continue
		}
		geometry.crop(&placement, random)
		if f.empty {
			empty++
		}
		samples = append(samples, Sample{
			ID: s.config.ID + "/" + p.name, Dataset: s.config.ID, Path: s.source.path(p.name), Hash: f.hash,
			Caption: f.captions[0], captions: f.captions, Placement: placement, Repeats: max(s.config.Repeats, 1),
		})
	}
	if empty > 0 {
		m.Warnings = append(m.Warnings, fmt.Sprintf(
			"dataset %s: %d of %d pictures have no caption and are trained with the empty one", s.config.ID, empty, len(samples)))
	}
	for i, sample := range mirrored(samples, s.config.FlipX, s.config.FlipY) {
		if i >= len(samples) {
			geometry.crop(&sample.Placement, b.random(b.pictures+i))
		}
		sample.Number = b.pictures + i
		m.Samples = append(m.Samples, sample.withCaptions()...)
	}
	b.pictures += len(samples) * copies(s.config)
	return nil
}

// random returns the random numbers of a picture, by its number in the manifest; they go on from call to call.
func (b *builder) random(picture int) func() *generator {
	return sync.OnceValue(func() *generator { return augmentationGenerator(b.request.Seed, 0, picture) })
}

// usable lists the pictures of a set that can be read and pass its filters.
func (b *builder) usable(s *set, g *geometry) []int {
	m := b.manifest
	var usable []int
	for i, p := range s.source.pictures {
		f, path := s.facts[i], s.source.path(p.name)
		reason := ""
		switch {
		case f.err != nil:
			m.Bad = append(m.Bad, Problem{path, f.err.Error()})
			continue
		case f.empty && s.config.DropUncaptioned:
			reason = "has no caption: " + captionRemedy(s.config, p)
		default:
			reason = g.unsuited(f.size)
		}
		if reason != "" {
			m.Filtered = append(m.Filtered, Problem{path, reason})
			continue
		}
		usable = append(usable, i)
	}
	return usable
}

// choose draws MaxSamples of the pictures and keeps their order.
func (b *builder) choose(s *set, pictures []int) []int {
	limit := s.config.MaxSamples
	if limit == 0 || limit >= len(pictures) {
		return pictures
	}
	chosen := make([]int, limit)
	for i, k := range newGenerator(b.request.Seed).permutation(len(pictures))[:limit] {
		chosen[i] = pictures[k]
	}
	slices.Sort(chosen)
	return chosen
}

// copies is the number of samples, mirrored or not, that one picture makes.
func copies(d *job.Dataset) int {
	n := 1
	if d.FlipX {
		n *= 2
	}
	if d.FlipY {
		n *= 2
	}
	return n
}

func mirrored(samples []Sample, flipX, flipY bool) []Sample {
	if flipX {
		for _, s := range samples {
			s.FlipX = true
			s.ID += " (flip x)"
			samples = append(samples, s)
		}
	}
	if flipY {
		for _, s := range samples {
			s.FlipY = true
			s.ID += " (flip y)"
			samples = append(samples, s)
		}
	}
	return samples
}

// summary says why pictures were left out, for the error that none is left.
func (b *builder) summary() string {
	m := b.manifest
	text := fmt.Sprintf("%d bad, %d outside the limits", len(m.Bad), len(m.Filtered))
	for _, p := range append(m.Bad[:len(m.Bad):len(m.Bad)], m.Filtered...) {
		return text + "; the first: " + p.String()
	}
	return text
}
