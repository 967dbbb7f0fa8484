// Package fake is an engine for tests: it computes nothing of use, but keeps every promise of the seam. Losses depend on
// the seed, the order of the data and the steps before, files are written, a restored session continues bit for bit, and
// failures can be ordered by Faults, which travel inside the configuration and so reach an engine in another process.
package fake

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	_ "image/jpeg" // Probe reads these formats
	_ "image/png"
	"os"
	"path/filepath"
	"runtime"

	"github.com/stepd/stepd/sessions/engine"
)

// Engine implements engine.Engine.
type Engine struct {
	// OnStep, when set, is called before each optimizer step; an error ends Train.
	OnStep func(ctx context.Context, step int64) error
}

var _ engine.Engine = (*Engine)(nil)

// Info implements engine.Engine.
func (e *Engine) Info() engine.Info {
	return engine.Info{Name: "fake", Version: "fake-1", InstructionSet: runtime.GOARCH, Threads: 1,
		Families: []string{"pixart"}, Devices: []string{"cpu"}}
}

// Probe implements engine.Engine for PNG and JPEG, without EXIF orientation.
func (e *Engine) Probe(path string) (engine.Picture, error) {
	file, err := os.Open(path)
	if err != nil {
		return engine.Picture{}, engine.Errorf(engine.NotFound, "open picture: %v", err)
	}
	defer file.Close()
	config, format, err := image.DecodeConfig(file)
	if err != nil {
		return engine.Picture{}, engine.Errorf(engine.Invalid, "read picture %s: %v", path, err)
	}
	return engine.Picture{Width: config.Width, Height: config.Height, Format: format}, nil
}

// Plan implements engine.Engine; the totals are those of Faults.
func (e *Engine) Plan(_ context.Context, config engine.Config, shapes []engine.Shape) (engine.Plan, error) {
	if err := checkModel(config); err != nil {
		return engine.Plan{}, err
	}
	faults := faultsOf(config)
	plan := engine.Plan{Weights: 1 << 20, Total: 1 << 20, Available: 1 << 40, FLOP: 1e6, Seconds: 1e-3, Trainable: weights, Parameters: weights}
	if faults.Memory > 0 {
		plan.Weights, plan.Total = faults.Memory, faults.Memory
	}
	plan.Fits = plan.Total <= plan.Available
	return plan, nil
}

// InitModel implements engine.Engine: it writes an empty transformer folder.
func (e *Engine) InitModel(request engine.InitModel) error {
	if err := os.MkdirAll(request.Out, 0o755); err != nil {
		return engine.Errorf(engine.IO, "create model folder: %v", err)
	}
	data, err := os.ReadFile(request.Config)
	if err != nil {
		return engine.Errorf(engine.NotFound, "read configuration: %v", err)
	}
	return asIO(os.WriteFile(filepath.Join(request.Out, "config.json"), data, 0o644))
}

// Open implements engine.Engine.
func (e *Engine) Open(ctx context.Context, config engine.Config, sink engine.Sink) (engine.Session, error) {
	if err := checkModel(config); err != nil {
		return nil, err
	}
	s := &session{engine: e, config: config, faults: faultsOf(config), sink: sink, cancel: make(chan struct{}, 1)}
	if s.faults.OpenCode != 0 {
		return nil, engine.Errorf(s.faults.OpenCode, "open: ordered to fail")
	}
	for i := range s.state.Weights {
		s.state.Weights[i] = unit(mix(config.Seed, uint64(i)))
	}
	gate, err := os.OpenFile(filepath.Join(config.Model, GateName), os.O_RDWR|nonblock, 0)
	if err == nil {
		s.gate = gate
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, asIO(err)
	}
	sink.OnProgress(engine.ProgressEvent{Stage: "load", Done: 1, Total: 1})
	return s, ctx.Err()
}

func checkModel(config engine.Config) error {
	if stat, err := os.Stat(config.Model); err != nil || !stat.IsDir() {
		return engine.Errorf(engine.NotFound, "model folder %q is not there", config.Model)
	}
	return nil
}

func asIO(err error) error {
	if err == nil {
		return nil
	}
	return engine.Errorf(engine.IO, "%v", err)
}

// mix is the SplitMix64 finaliser over two words.
func mix(a, b uint64) uint64 {
	x := a + 0x9e3779b97f4a7c15*(b+1)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps to [0, 1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// identity follows from the entries of the cache that a sample is made of, wherever the cache is.
func identity(s engine.Sample) uint64 {
	hash := fnv.New64a()
	for _, path := range []string{s.Latents, s.Text} {
		_, _ = hash.Write([]byte(filepath.Base(filepath.Dir(path)) + "\n"))
	}
	return hash.Sum64()
}

func poisoned() error {
	return engine.Errorf(engine.State, "the session was poisoned by an earlier error and can only be closed")
}

func missing(what string, i int) error {
	return fmt.Errorf("%s %d is outside the list of samples", what, i)
}
