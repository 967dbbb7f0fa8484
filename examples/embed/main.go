// Command embed shows package cgo inside another Go program: it trains a few steps on the emoji of the demo, without a
// server. Run it after `make build`: go run ./examples/embed
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stepd/stepd/cgo"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/tokenize"
)

const (
	pixels = 64
	tokens = 32
	steps  = 10
	batch  = 8
)

func main() {
	dir, err := os.MkdirTemp("", "stepd-embed-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		err = train(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

func train(ctx context.Context, dir string) error {
	core, err := cgo.Open()
	if err != nil {
		return err
	}
	source, err := filepath.Abs("examples/emoji")
	if err != nil {
		return err
	}
	model := filepath.Join(dir, "model")
	if err := os.CopyFS(model, os.DirFS(filepath.Join(source, "model"))); err != nil {
		return err
	}
	transformer := filepath.Join(model, "transformer")
	if err := core.InitModel(engine.InitModel{Family: "pixart", Config: filepath.Join(transformer, "config.json"), Out: transformer, DType: "fp32"}); err != nil {
		return err
	}
	session, err := core.Open(ctx, config(model), printer{})
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	samples, empty, err := encode(ctx, session, source, dir)
	if err != nil {
		return err
	}
	if err := session.SetSamples(samples, empty); err != nil {
		return err
	}
	var work []engine.Step
	for i := range int64(steps) {
		micro := engine.Batch{Index: i}
		for k := range batch {
			micro.Samples = append(micro.Samples, (int(i)*batch+k)%len(samples))
		}
		work = append(work, engine.Step{Batches: []engine.Batch{micro}})
	}
	_, err = session.Train(ctx, work)
	return err
}

func config(model string) engine.Config {
	return engine.Config{
		Model: model, Device: "cpu", DType: "bf16", WeightDType: "fp32", Seed: 1, Accumulation: 1, TextTokens: tokens,
		Loss:      engine.Loss{Type: "l2", HuberC: 0.1, HuberSchedule: "constant"},
		Noise:     engine.Noise{Timesteps: "sigmoid"},
		Optimizer: engine.Optimizer{Name: "adamw", LR: 1e-3},
		Schedule:  engine.Schedule{Name: "constant", Steps: steps},
		Clip:      engine.Clip{Norm: 1},
	}
}

// encode fills two files for every picture: the moments of its latents, and its caption's embedding.
func encode(ctx context.Context, session engine.Session, source, dir string) (samples []engine.Sample, empty engine.TextFile, err error) {
	tokenizer, err := tokenize.Load(filepath.Join(source, "model", "tokenizer"))
	if err != nil {
		return nil, empty, err
	}
	pictures, err := filepath.Glob(filepath.Join(source, "pictures", "*.png"))
	if err != nil {
		return nil, empty, err
	}
	text := func(caption, out string) engine.TextItem {
		ids, length := tokenizer.Encode(tokenize.Clean(caption), tokens)
		return engine.TextItem{IDs: ids[:length], Out: out}
	}
	empty.Path = filepath.Join(dir, "empty.safetensors")
	texts, images := []engine.TextItem{text("", empty.Path)}, []engine.ImageItem{}
	for i, picture := range pictures {
		caption, err := os.ReadFile(picture[:len(picture)-len(".png")] + ".txt")
		if err != nil {
			return nil, empty, err
		}
		s := engine.Sample{Latents: filepath.Join(dir, fmt.Sprintf("latents-%d", i)), Text: filepath.Join(dir, fmt.Sprintf("text-%d", i))}
		samples = append(samples, s)
		texts = append(texts, text(string(caption), s.Text))
		images = append(images, engine.ImageItem{Path: picture, ResizeWidth: pixels, ResizeHeight: pixels, Width: pixels, Height: pixels, Out: s.Latents})
	}
	if err := session.EncodeText(ctx, texts); err != nil {
		return nil, empty, err
	}
	return samples, empty, session.EncodeImages(ctx, images)
}

// printer shows every step.
type printer struct{}

func (printer) OnStep(e engine.StepEvent) {
	fmt.Printf("step %d  loss %.4f  %.3f s\n", e.Step, e.Loss, e.Seconds)
}

func (printer) OnProgress(engine.ProgressEvent) {}
func (printer) OnPreview(engine.PreviewEvent)   {}
