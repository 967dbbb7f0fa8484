//go:build cgo && !nonative

package cgo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
)

const tinyTransformer = `{"_class_name": "PixArtTransformer2DModel", "num_layers": 1, "num_attention_heads": 2,
"attention_head_dim": 16, "cross_attention_dim": 32, "caption_channels": 128, "in_channels": 8, "out_channels": 16,
"sample_size": 16, "patch_size": 2, "interpolation_scale": 1, "attention_bias": true, "activation_fn": "gelu-approximate",
"norm_type": "ada_norm_single", "norm_elementwise_affine": false, "norm_eps": 1e-6, "use_additional_conditions": false}`

const emoji = "../examples/emoji"

// recorder keeps the events of a session.
type recorder struct {
	mu       sync.Mutex
	steps    []engine.StepEvent
	progress []engine.ProgressEvent
	previews []engine.PreviewEvent
	onStep   func(engine.StepEvent)
}

func (r *recorder) OnStep(e engine.StepEvent) {
	r.mu.Lock()
	r.steps = append(r.steps, e)
	r.mu.Unlock()
	if r.onStep != nil {
		r.onStep(e)
	}
}

func (r *recorder) OnPreview(e engine.PreviewEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.previews = append(r.previews, e)
}

func (r *recorder) OnProgress(e engine.ProgressEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = append(r.progress, e)
}

// tinyModel is the emoji model with a transformer of one layer.
func tinyModel(t *testing.T, core engine.Engine) string {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs(filepath.Join(emoji, "model"))
	require.NoError(t, err)
	for _, name := range []string{"model_index.json", "scheduler", "text_encoder", "vae"} {
		require.NoError(t, os.Symlink(filepath.Join(source, name), filepath.Join(dir, name)))
	}
	config := filepath.Join(dir, "transformer.json")
	require.NoError(t, os.WriteFile(config, []byte(tinyTransformer), 0o600))
	require.NoError(t, core.InitModel(engine.InitModel{Family: "pixart", Config: config, Out: filepath.Join(dir, "transformer"), DType: "fp32"}))
	return dir
}

func tinyConfig(model string) engine.Config {
	return engine.Config{Model: model, Device: "cpu", Seed: 3, DType: "fp32", WeightDType: "fp32", Loss: engine.Loss{Type: "l2"},
		Optimizer: engine.Optimizer{Name: "adamw", LR: 1e-2}, Schedule: engine.Schedule{Name: "constant"}, Accumulation: 1, TextTokens: 8}
}

// openTiny opens a session with two cached samples and checks, at the end of the test, that nothing leaks.
func openTiny(t *testing.T, sink engine.Sink) engine.Session {
	t.Helper()
	core, err := Open()
	require.NoError(t, err)
	before := live()
	model := tinyModel(t, core)
	session, err := core.Open(context.Background(), tinyConfig(model), sink)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, session.Close())
		assert.NoError(t, session.Close(), "closing twice")
		assert.Equal(t, before, live(), "the core holds sessions or buffers")
	})
	require.NoError(t, session.SetSamples(encodeTiny(t, session), engine.TextFile{}))
	return session
}

// encodeTiny caches two samples.
func encodeTiny(t *testing.T, session engine.Session) (samples []engine.Sample) {
	t.Helper()
	var images []engine.ImageItem
	var captions []engine.TextItem
	for i, name := range []string{"lemon", "tomato"} {
		image := engine.ImageItem{Path: filepath.Join(emoji, "pictures", name+".png"), ResizeWidth: 32, ResizeHeight: 32, Width: 32, Height: 32,
			Out: filepath.Join(t.TempDir(), "latents.safetensors")}
		caption := engine.TextItem{IDs: []int32{int32(i + 3), 1}, Out: filepath.Join(t.TempDir(), "text.safetensors")}
		images, captions = append(images, image), append(captions, caption)
		samples = append(samples, engine.Sample{Latents: image.Out, Text: caption.Out})
	}
	require.NoError(t, session.EncodeImages(context.Background(), images))
	require.NoError(t, session.EncodeText(context.Background(), captions))
	return samples
}

func tinySteps(first, last int64) []engine.Step {
	var steps []engine.Step
	for k := first; k < last; k++ {
		steps = append(steps, engine.Step{Batches: []engine.Batch{{Index: k, Samples: []int{0, 1}}}})
	}
	return steps
}

func checkpoint(t *testing.T, session engine.Session) (dir string, weights []byte) {
	t.Helper()
	dir = t.TempDir()
	files, err := session.Save(context.Background(), dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"weights.safetensors", "optimizer.safetensors", "state.json"}, files)
	weights, err = os.ReadFile(filepath.Join(dir, files[0]))
	require.NoError(t, err)
	return dir, weights
}

func TestTrainReportsEveryStepBeforeItReturns(t *testing.T) {
	events := &recorder{}
	session := openTiny(t, events)
	result, err := session.Train(context.Background(), tinySteps(0, 4))
	require.NoError(t, err)
	assert.Equal(t, engine.Result{Steps: 4}, result)
	assert.EqualValues(t, 4, session.Step())
	require.Len(t, events.steps, 4)
	for i, e := range events.steps {
		assert.EqualValues(t, i+1, e.Step)
		assert.Positive(t, e.Loss)
		assert.Positive(t, e.GradNorm)
		assert.Equal(t, 1e-2, e.LR)
	}
	assert.Contains(t, events.progress, engine.ProgressEvent{Stage: "encode_images", Done: 2, Total: 2})
	assert.Contains(t, events.progress, engine.ProgressEvent{Stage: "encode_text", Done: 2, Total: 2})
}

func TestRestoreContinuesBitForBit(t *testing.T) {
	straight, first, second := openTiny(t, &recorder{}), openTiny(t, &recorder{}), openTiny(t, &recorder{})
	train := func(s engine.Session, from, to int64) {
		_, err := s.Train(context.Background(), tinySteps(from, to))
		require.NoError(t, err)
	}
	train(straight, 0, 4)
	train(first, 0, 2)
	dir, _ := checkpoint(t, first)
	require.NoError(t, second.Restore(context.Background(), dir))
	assert.EqualValues(t, 2, second.Step())
	train(second, 2, 4)
	_, want := checkpoint(t, straight)
	_, got := checkpoint(t, second)
	assert.True(t, bytes.Equal(want, got))
}

func TestCancelStopsTheCallInProgressOnly(t *testing.T) {
	events := &recorder{}
	session := openTiny(t, events)
	session.Cancel() // nothing runs: nothing to cancel
	events.onStep = func(engine.StepEvent) { session.Cancel() }
	const many = 20000
	result, err := session.Train(context.Background(), tinySteps(0, many))
	require.NoError(t, err)
	assert.True(t, result.Cancelled)
	assert.Less(t, result.Steps, int64(many))
	events.onStep = nil
	result, err = session.Train(context.Background(), tinySteps(0, 1))
	require.NoError(t, err)
	assert.Equal(t, engine.Result{Steps: 1}, result)
}

func TestContextEndsACall(t *testing.T) {
	events := &recorder{}
	session := openTiny(t, events)
	ctx, cancel := context.WithCancel(context.Background())
	events.onStep = func(engine.StepEvent) { cancel() }
	result, err := session.Train(ctx, tinySteps(0, 20000))
	require.NoError(t, err)
	assert.True(t, result.Cancelled)
	_, err = session.Train(ctx, tinySteps(0, 1))
	assert.ErrorIs(t, err, context.Canceled)
}

// A context that ends with its call may have started to cancel: that must not reach the next call.
func TestALateCancelStaysWithItsCall(t *testing.T) {
	events := &recorder{}
	session := openTiny(t, events)
	for range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		events.onStep = func(engine.StepEvent) { cancel() }
		_, err := session.Train(ctx, tinySteps(0, 1))
		require.NoError(t, err)
		events.onStep = nil
		result, err := session.Train(context.Background(), tinySteps(0, 1))
		require.NoError(t, err)
		require.Equal(t, engine.Result{Steps: 1}, result)
	}
}

func TestSampleAndExport(t *testing.T) {
	session := openTiny(t, &recorder{})
	out := filepath.Join(t.TempDir(), "picture.png")
	require.NoError(t, session.Sample(context.Background(), []engine.SampleRequest{
		{IDs: []int32{4, 1}, NegativeIDs: []int32{1}, Width: 32, Height: 32, Steps: 2, Guidance: 2, Seed: 1, Out: out}}))
	core, err := Open()
	require.NoError(t, err)
	picture, err := core.Probe(out)
	require.NoError(t, err)
	assert.Equal(t, engine.Picture{Width: 32, Height: 32, Format: "png"}, picture)
	folder := filepath.Join(t.TempDir(), "transformer")
	require.NoError(t, session.Export(context.Background(), engine.Export{Path: folder, Format: "diffusers", DType: "bf16"}))
	assert.FileExists(t, filepath.Join(folder, "diffusion_pytorch_model.safetensors"))
}

func TestErrorsCarryCodeAndField(t *testing.T) {
	core, err := Open()
	require.NoError(t, err)
	before := live()
	model := tinyModel(t, core)
	cases := []struct {
		name    string
		change  func(*engine.Config)
		code    engine.Code
		message string
	}{
		{"model", func(c *engine.Config) { c.Model = "/nowhere" }, engine.NotFound, "/nowhere"},
		{"optimizer", func(c *engine.Config) { c.Optimizer.Name = "adam9" }, engine.Unsupported, "adam9"},
		{"dtype", func(c *engine.Config) { c.DType = "fp8" }, engine.Unsupported, "config.dtype"},
		{"memory", func(c *engine.Config) { c.MemoryBudget = 1000 }, engine.OutOfMemory, "Remedies"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			config := tinyConfig(model)
			c.change(&config)
			session, err := core.Open(context.Background(), config, &recorder{})
			assert.Nil(t, session)
			var failure *engine.Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, c.code, failure.Code)
			assert.Contains(t, failure.Message, c.message)
			assert.NotEmpty(t, failure.Place)
		})
	}
	assert.Equal(t, before, live())
}

func TestAClosedSessionRefuses(t *testing.T) {
	session := openTiny(t, &recorder{})
	require.NoError(t, session.Close())
	_, err := session.Train(context.Background(), tinySteps(0, 1))
	var failure *engine.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, engine.State, failure.Code)
	session.Cancel()
	assert.Zero(t, session.Step())
}

// Sessions are independent: several may train at once, and be asked for their step meanwhile.
func TestSessionsRunSideBySide(t *testing.T) {
	var wait sync.WaitGroup
	for i := range 2 {
		session := openTiny(t, &recorder{})
		wait.Go(func() {
			_, err := session.Train(context.Background(), tinySteps(0, 5))
			assert.NoError(t, err, fmt.Sprint(i))
		})
		wait.Go(func() { assert.GreaterOrEqual(t, session.Step(), int64(0)) })
	}
	wait.Wait()
}

func TestPreviewsReachTheSinkBeforeSampleReturns(t *testing.T) {
	events := &recorder{}
	session := openTiny(t, events)
	dir := t.TempDir()
	request := engine.SampleRequest{IDs: []int32{3, 1}, Width: 32, Height: 32, Steps: 6, Guidance: 1, Out: filepath.Join(dir, "out.png"),
		Preview: &engine.Preview{Every: 4, Out: filepath.Join(dir, "preview-{step}.png")}}
	require.NoError(t, session.Sample(context.Background(), []engine.SampleRequest{request}))
	require.Len(t, events.previews, 3)
	for i, step := range []int{1, 5, 6} {
		event := events.previews[i]
		assert.Equal(t, step, event.Step)
		assert.Equal(t, 6, event.Steps)
		assert.Equal(t, filepath.Join(dir, fmt.Sprintf("preview-%d.png", step)), event.Path)
		assert.FileExists(t, event.Path)
	}
	assert.Greater(t, events.previews[0].Timestep, events.previews[2].Timestep)

	request.Preview.Out = filepath.Join(dir, "absent", "{step}.png")
	require.NoError(t, session.Sample(context.Background(), []engine.SampleRequest{request}), "a preview that fails costs no picture")
	require.Len(t, events.previews, 4)
	assert.Empty(t, events.previews[3].Path)
	assert.Contains(t, events.previews[3].Error, "absent")
}

func TestPlanNeedsNoMemory(t *testing.T) {
	core, err := Open()
	require.NoError(t, err)
	config := tinyConfig(tinyModel(t, core))
	plan, err := core.Plan(context.Background(), config, []engine.Shape{{Width: 32, Height: 32, TextTokens: 8, Batch: 2}})
	require.NoError(t, err)
	assert.True(t, plan.Fits)
	assert.Positive(t, plan.FLOP)
	assert.Equal(t, plan.Parameters, plan.Trainable)
	assert.LessOrEqual(t, plan.Weights+plan.Gradients+plan.Optimizer+plan.Activations, plan.Total)
}

func TestInfoNamesTheBuild(t *testing.T) {
	core, err := Open()
	require.NoError(t, err)
	info := core.Info()
	assert.Equal(t, "native", info.Name)
	assert.Contains(t, info.Families, "pixart")
	assert.Positive(t, info.Threads)
	assert.NotEmpty(t, Library())
}
