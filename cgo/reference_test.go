//go:build cgo && !nonative

package cgo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/sheet"
	"github.com/stepd/stepd/sessions/tokenize"
)

// pipelineCase is a case of section E in a manifest of reference data: a diffusers pipeline from prompts to pictures.
type pipelineCase struct {
	Name   string
	Params struct {
		Seed      uint64          `json:"seed"`
		Model     string          `json:"model"`
		Prompt    json.RawMessage `json:"prompt"` // one or a list
		Negative  json.RawMessage `json:"negative_prompt"`
		Guidance  float64         `json:"guidance_scale"`
		Steps     int             `json:"num_inference_steps"`
		Width     int             `json:"width"`
		Height    int             `json:"height"`
		Tokens    int             `json:"max_sequence_length"`
		Scheduler string          `json:"scheduler"`
		Spacing   string          `json:"spacing"`
	}
}

// wantedPSNR is how close a picture must be to the one of diffusers for the same seed, dB.
const wantedPSNR = 45

// TestReference samples every PixArt pipeline of the reference data in STEPD_REFERENCE and compares the pictures. Its lines
// and totals are those that `make reference` collects.
func TestReference(t *testing.T) {
	dir := os.Getenv("STEPD_REFERENCE")
	if dir == "" {
		t.Skip("STEPD_REFERENCE names no folder with reference data")
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	require.NoError(t, err)
	var manifest struct{ Cases []pipelineCase }
	require.NoError(t, json.Unmarshal(data, &manifest))
	passed, failed, skipped := 0, 0, 0
	for _, c := range manifest.Cases {
		if !strings.HasPrefix(c.Name, "E/") {
			continue
		}
		if !strings.Contains(c.Params.Scheduler+c.Name, "pixart") {
			fmt.Printf("SKIP %s: not a family of this version\n", c.Name)
			skipped++
			continue
		}
		worst, err := samplePipeline(t, dir, c)
		if err != nil || worst < wantedPSNR {
			fmt.Printf("FAIL %s: PSNR %.1f dB, %v\n", c.Name, worst, err)
			t.Errorf("%s: PSNR %.1f dB, %v", c.Name, worst, err)
			failed++
			continue
		}
		fmt.Printf("PASS %s: PSNR %.1f dB\n", c.Name, worst)
		passed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}

// samplePipeline makes the pictures of one case and returns the least PSNR against the stored ones.
func samplePipeline(t *testing.T, dir string, c pipelineCase) (float64, error) {
	model := modelWithScheduler(t, filepath.Join(dir, "models", c.Params.Model), c)
	tokenizer, err := tokenize.Load(filepath.Join(model, "tokenizer"))
	if err != nil {
		return 0, err
	}
	encode := func(text string) []int32 {
		ids, length := tokenizer.Encode(tokenize.Clean(text), c.Params.Tokens)
		return ids[:length]
	}
	core, err := Open()
	if err != nil {
		return 0, err
	}
	session, err := core.Open(context.Background(), engine.Config{
		Model: model, Device: "cpu", DType: "fp32", WeightDType: "fp32", TextTokens: c.Params.Tokens, Accumulation: 1,
		Loss: engine.Loss{Type: "l2"}, Optimizer: engine.Optimizer{Name: "adamw"}, Schedule: engine.Schedule{Name: "constant"}, SampleOnly: true,
	}, nothing{})
	if err != nil {
		return 0, err
	}
	defer func() { _ = session.Close() }()
	prompts, negatives := texts(c.Params.Prompt), texts(c.Params.Negative)
	request := engine.SampleRequest{Width: c.Params.Width, Height: c.Params.Height, Steps: c.Params.Steps, Guidance: c.Params.Guidance, Seed: c.Params.Seed}
	if len(negatives) > 0 {
		request.NegativeIDs = encode(negatives[0])
	} else {
		request.NegativeIDs = encode("")
	}
	// The pipeline draws the noise of all its pictures in one call, so they are asked for as one batch.
	var requests []engine.SampleRequest
	for i, prompt := range prompts {
		request.IDs, request.BatchIndex, request.BatchSize = encode(prompt), i, len(prompts)
		request.Out = filepath.Join(t.TempDir(), "image.png")
		requests = append(requests, request)
	}
	if err := session.Sample(context.Background(), requests); err != nil {
		return 0, err
	}
	worst := 100.0
	for i, r := range requests {
		psnr, err := sheet.PSNR(r.Out, filepath.Join(dir, "cases", c.Name, fmt.Sprintf("image%d.png", i)))
		if err != nil {
			return 0, err
		}
		worst = min(worst, psnr)
	}
	return worst, nil
}

// modelWithScheduler links a model folder and gives it the case's scheduler.
func modelWithScheduler(t *testing.T, source string, c pipelineCase) string {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs(source)
	require.NoError(t, err)
	entries, err := os.ReadDir(source)
	require.NoError(t, err)
	for _, entry := range entries {
		if entry.Name() != "scheduler" {
			require.NoError(t, os.Symlink(filepath.Join(source, entry.Name()), filepath.Join(dir, entry.Name())))
		}
	}
	data, err := os.ReadFile(filepath.Join(source, "scheduler", "scheduler_config.json"))
	require.NoError(t, err)
	data = bytes.ReplaceAll(data, []byte("-Infinity"), []byte("null")) // as Python writes it
	var config map[string]any
	require.NoError(t, json.Unmarshal(data, &config))
	if config["_class_name"] != c.Params.Scheduler {
		config = map[string]any{"beta_schedule": config["beta_schedule"], "beta_start": config["beta_start"], "beta_end": config["beta_end"],
			"num_train_timesteps": config["num_train_timesteps"], "prediction_type": config["prediction_type"], "clip_sample": false}
	}
	config["_class_name"], config["timestep_spacing"] = c.Params.Scheduler, c.Params.Spacing
	data, err = json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "scheduler"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "scheduler", "scheduler_config.json"), data, 0o644))
	return dir
}

// texts reads one string or a list of strings.
func texts(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}

type nothing struct{}

func (nothing) OnStep(engine.StepEvent)         {}
func (nothing) OnProgress(engine.ProgressEvent) {}
func (nothing) OnPreview(engine.PreviewEvent)   {}
