package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/tokenize"
)

// sampleOptions are the flags of `stepd sample`.
type sampleOptions struct {
	model, adapter, negative, size, out, sampler, dtype string
	prompts                                             []string
	steps, tokens                                       int
	guidance                                            float64
	seed                                                uint64
	asJSON                                              bool
}

func sampleCommand() *cobra.Command {
	var o sampleOptions
	command := &cobra.Command{
		Use:   "sample --model DIR --prompt TEXT… --out DIR",
		Short: "pictures from a model folder, as the diffusers pipeline makes them for the same seed",
		Args:  cobra.NoArgs,
		RunE:  func(command *cobra.Command, _ []string) error { return sample(command, o) },
	}
	flags := command.Flags()
	flags.StringVar(&o.model, "model", "", "model folder in the diffusers layout")
	flags.StringVar(&o.adapter, "adapter", "", "LoRA file to apply")
	flags.StringArrayVar(&o.prompts, "prompt", nil, "what to draw; repeat for several pictures")
	flags.StringVar(&o.negative, "negative", "", "what to avoid")
	flags.StringVar(&o.size, "size", "512x512", "width x height, pixels")
	flags.StringVar(&o.out, "out", "", "folder for the pictures")
	flags.StringVar(&o.sampler, "sampler", "", "dpmpp_2m, ddim, euler or flow_euler; empty: the folder's scheduler")
	flags.StringVar(&o.dtype, "dtype", "fp32", "fp32 or bf16")
	flags.IntVar(&o.steps, "steps", 20, "denoising steps")
	flags.IntVar(&o.tokens, "tokens", 300, "length of the text, tokens")
	flags.Float64Var(&o.guidance, "guidance", 4.5, "classifier-free guidance; 1 switches it off")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of the first picture; the others count up")
	flags.BoolVar(&o.asJSON, "json", false, "print one JSON object a line and nothing else")
	for _, name := range []string{"model", "prompt", "out"} {
		_ = command.MarkFlagRequired(name)
	}
	return command
}

func sample(command *cobra.Command, o sampleOptions) error {
	if err := o.check(); err != nil {
		return &exitError{exitUsage, err}
	}
	requests, err := sampleRequests(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	core, err := native()
	if err != nil {
		return err
	}
	config, err := sampleConfig(o)
	if err != nil {
		return err
	}
	ctx, stop := untilSignal(context.Background())
	defer stop()
	session, err := core.Open(ctx, config, quiet{})
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	defer func() { _ = session.Close() }()
	if err := session.Sample(ctx, requests); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	for _, request := range requests {
		if err := printSample(command, request.Out, o.asJSON); err != nil {
			return err
		}
	}
	return nil
}

// check names everything that is wrong with the flags.
func (o sampleOptions) check() error {
	problems := []error{checkModel(o.model)}
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	_, _, err := parseSize(o.size)
	require(err == nil, "%w", err)
	require(!math.IsNaN(o.guidance) && !math.IsInf(o.guidance, 0), "--guidance is not a finite number")
	require(o.steps >= 1, "--steps %d is not positive", o.steps)
	require(o.tokens >= 1, "--tokens %d leaves no room for a token; use 1 or more", o.tokens)
	require(o.dtype == "fp32" || o.dtype == "bf16", "--dtype %q is neither fp32 nor bf16", o.dtype)
	if o.adapter != "" {
		_, err := os.Stat(o.adapter)
		require(err == nil, "--adapter: %w", err)
	}
	return errors.Join(problems...)
}

// modelParts are what pictures need of a model folder.
var modelParts = []string{"model_index.json", "scheduler", "tokenizer", "text_encoder", "transformer", "vae"}

func checkModel(folder string) error {
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return fmt.Errorf("--model %s: there is no such folder; name a model folder in the diffusers layout", folder)
	}
	var missing []string
	for _, part := range modelParts {
		if _, err := os.Stat(filepath.Join(folder, part)); err != nil {
			missing = append(missing, part)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("--model %s lacks %s; trained weights alone are no model: put the other parts of the base model beside them", folder,
		strings.Join(missing, ", "))
}

func printSample(command *cobra.Command, path string, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(command.OutOrStdout()).Encode(map[string]string{"type": "sample", "path": path})
	}
	_, err := fmt.Fprintln(command.OutOrStdout(), path)
	return err
}

func sampleConfig(o sampleOptions) (engine.Config, error) {
	model, err := filepath.Abs(o.model)
	if err != nil {
		return engine.Config{}, usageError("%w", err)
	}
	config := engine.Config{Model: model, Device: "cpu", DType: o.dtype, WeightDType: o.dtype, TextTokens: o.tokens, Accumulation: 1,
		Loss: engine.Loss{Type: "l2"}, Optimizer: engine.Optimizer{Name: "adamw"}, Schedule: engine.Schedule{Name: "constant"}, SampleOnly: true}
	if o.adapter != "" {
		init, err := filepath.Abs(o.adapter)
		if err != nil {
			return engine.Config{}, usageError("%w", err)
		}
		config.Adapter = &engine.Adapter{Type: "lora", Init: init}
	}
	return config, nil
}

func sampleRequests(o sampleOptions) ([]engine.SampleRequest, error) {
	width, height, err := parseSize(o.size)
	if err != nil {
		return nil, err
	}
	tokenizer, err := tokenize.Load(filepath.Join(o.model, "tokenizer"))
	if err != nil {
		return nil, usageError("%w", err)
	}
	encode := func(text string) []int32 {
		ids, length := tokenizer.Encode(tokenize.Clean(text), o.tokens)
		return ids[:length]
	}
	out, err := filepath.Abs(o.out)
	if err != nil {
		return nil, usageError("%w", err)
	}
	var requests []engine.SampleRequest
	for i, prompt := range o.prompts {
		requests = append(requests, engine.SampleRequest{
			IDs: encode(prompt), NegativeIDs: encode(o.negative), Width: width, Height: height, Steps: o.steps, Guidance: o.guidance,
			Seed: o.seed + uint64(i), Sampler: o.sampler, Out: filepath.Join(out, fmt.Sprintf("sample-%03d.png", i)),
		})
	}
	return requests, nil
}

func parseSize(text string) (width, height int, err error) {
	w, h, found := strings.Cut(text, "x")
	width, err1 := strconv.Atoi(w)
	height, err2 := strconv.Atoi(h)
	if !found || err1 != nil || err2 != nil || width < 8 || height < 8 || width%8 != 0 || height%8 != 0 {
		return 0, 0, usageError("--size %q is not WIDTHxHEIGHT in multiples of 8, for example 512x768", text)
	}
	return width, height, nil
}

// quiet is a sink that nobody reads.
type quiet struct{}

func (quiet) OnStep(engine.StepEvent)         {}
func (quiet) OnProgress(engine.ProgressEvent) {}
func (quiet) OnPreview(engine.PreviewEvent)   {}
