package simpletuner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// place makes folders of models, pictures, outputs and configs as the tutorial expects them.
func makeRoots(t *testing.T) Roots {
	t.Helper()
	dir := t.TempDir()
	roots := Roots{Models: filepath.Join(dir, "models"), Datasets: filepath.Join(dir, "data"), Outputs: filepath.Join(dir, "outputs"), Configs: filepath.Join(dir, "config")}
	fixture.Model(t, filepath.Join(roots.Models, "terminusresearch", "pixart-900m-1024-ft-v0.6"))
	for _, folder := range []string{filepath.Join(roots.Datasets, "pseudo-camera-10k"), filepath.Join(roots.Datasets, "demo"), roots.Outputs} {
		require.NoError(t, os.MkdirAll(folder, 0o755))
	}
	writeConfig(t, roots, "multidatabackend-once.json", `[
	  {"id": "demo-images", "type": "local", "dataset_type": "image", "instance_data_dir": "demo", "caption_strategy": "textfile",
	   "resolution": 1024, "resolution_type": "pixel_area"},
	  {"id": "demo-text-embeds", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": "/data/cache/text/demo"}]`)
	writeConfig(t, roots, "pixart-api-demo/multidatabackend.json", `[
	  {"id": "pixart-camera", "type": "local", "dataset_type": "image", "instance_data_dir": "pseudo-camera-10k", "caption_strategy": "filename",
	   "resolution": 1.0, "resolution_type": "area", "minimum_image_size": 0.25, "maximum_image_size": 1.0, "target_downsample_size": 1.0,
	   "cache_dir_vae": "/data/cache/vae/pixart/pseudo-camera-10k", "crop": true, "crop_style": "random", "crop_aspect": "square",
	   "metadata_backend": "discovery"},
	  {"id": "pixart-text-embeds", "type": "local", "dataset_type": "text_embeds", "default": true,
	   "cache_dir": "/data/cache/text/pixart/pseudo-camera-10k", "write_batch_size": 128}]`)
	return roots
}

func writeConfig(t *testing.T, roots Roots, name, text string) {
	t.Helper()
	path := filepath.Join(roots.Configs, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// fastPath is the tutorial's form of a run without an environment.
func fastPath() map[string][]string {
	return map[string][]string{
		"__active_tab__": {"model"}, "--model_family": {"pixart_sigma"}, "--model_type": {"full"}, "--model_flavour": {"900M-1024-v0.6"},
		"--pretrained_model_name_or_path": {"terminusresearch/pixart-900m-1024-ft-v0.6"}, "--output_dir": {"inline-demo"},
		"--data_backend_config": {"config/multidatabackend-once.json"}, "--train_batch_size": {"1"}, "--learning_rate": {"0.0001"},
		"--max_train_steps": {"200"}, "--num_train_epochs": {"0"},
	}
}

// translate reads a form with fields changed; "" in place of a list takes a field out.
func translate(t *testing.T, roots Roots, changes map[string]string) (*Translation, error) {
	t.Helper()
	return Translate(Request{Options: changedForm(changes), Roots: roots})
}

func changedForm(changes map[string]string) Options {
	form := fastPath()
	for name, value := range changes {
		form["--"+name] = []string{value}
	}
	options, _ := FromForm(form)
	return options
}

// environment is the tutorial's saved configuration, with the dashed and plain keys that its commands leave.
const environment = `{
	"data_backend_config": "pixart-api-demo/multidatabackend.json", "--model_family": "pixart_sigma", "--model_flavour": "900M-1024-v0.6",
	"--model_type": "full", "--output_dir": "pixart900m", "--train_batch_size": 2, "--gradient_accumulation_steps": 2,
	"--learning_rate": 0.0001, "--optimizer": "adamw_bf16", "--lr_scheduler": "cosine", "--lr_warmup_steps": 500, "--max_train_steps": 1800,
	"--num_train_epochs": 0, "--validation_prompt": "a studio portrait of <token> wearing a leather jacket", "--validation_guidance": 3.8,
	"--validation_resolution": "1024x1024", "--validation_num_inference_steps": 28, "--cache_dir_vae": "/data/cache/vae/pixart",
	"--seed": 1337, "--resume_from_checkpoint": "latest", "--base_model_precision": "bf16", "--dataloader_prefetch": true,
	"--report_to": "none", "--checkpoints_total_limit": 4, "--validation_seed": 12345, "--data_backend_config": "pixart-api-demo/multidatabackend.json"}`

func parsed(t *testing.T, text string) map[string]any {
	t.Helper()
	var document map[string]any
	require.NoError(t, decode([]byte(text), &document))
	return document
}

func TestTutorialFastPath(t *testing.T) {
	roots := makeRoots(t)
	got, err := translate(t, roots, nil)
	require.NoError(t, err)
	require.Empty(t, got.Warnings)
	require.Empty(t, got.Suggestions)
	j := got.Job
	require.Equal(t, filepath.Join(roots.Outputs, "inline-demo"), j.RunDir())
	require.Equal(t, filepath.Join(roots.Models, "terminusresearch", "pixart-900m-1024-ft-v0.6"), j.Engine.Model)
	require.Equal(t, int64(200), j.Steps)
	require.Equal(t, 1, j.BatchSize)
	require.Equal(t, "bf16", j.Engine.WeightDType)
	require.Equal(t, engine.Clip{Value: 0.01}, j.Engine.Clip)
	require.Equal(t, 300, j.Engine.TextTokens)
	require.Equal(t, 0.1, j.Engine.CaptionDropout)
	require.Equal(t, job.StyleSimpleTuner, j.Save.Style)
	require.Equal(t, []job.Dataset{{ID: "demo-images", Folder: filepath.Join(roots.Datasets, "demo"), Captions: job.CaptionsTextFile, SplitCaptions: true, DropUncaptioned: true,
		Resolution: 1024, ResolutionType: job.ResolutionArea, BucketStep: 64, AspectRounding: 2, BucketStyle: "simpletuner", Crop: "random", Repeats: 1}}, j.Datasets)
	require.Equal(t, int64(200), got.Resolved["max_train_steps"])
}

func TestTutorialEnvironment(t *testing.T) {
	roots := makeRoots(t)
	form, control := FromForm(map[string][]string{"__active_tab__": {"model"}, "--num_train_epochs": {"0"}})
	require.Equal(t, "model", control.ActiveTab)
	got, err := Translate(Request{Options: Fold(parsed(t, environment)).Merge(form), Roots: roots})
	require.NoError(t, err)
	require.Empty(t, got.Warnings)
	j := got.Job
	require.Equal(t, uint64(1337), j.Engine.Seed)
	require.Equal(t, 2, j.Engine.Accumulation)
	require.Equal(t, engine.Schedule{Name: "cosine", Warmup: 500, Steps: 1800, LREnd: 4e-7}, j.Engine.Schedule)
	require.Equal(t, 4, j.Save.Keep)
	require.True(t, j.Engine.Noise.Stratified)
	require.Len(t, j.Sampling.Prompts, 2)
	require.Equal(t, job.Prompt{Text: "a studio portrait of <token> wearing a leather jacket", Name: "validation", Negative: "blurry, cropped, ugly",
		Width: 1024, Height: 1024, Steps: 28, Guidance: 3.8, Seed: 12345}, j.Sampling.Prompts[1])
	require.Equal(t, "unconditional", j.Sampling.Prompts[0].Name)
	require.True(t, j.Datasets[0].Square)
	require.Equal(t, job.ResolutionMegapixel, j.Datasets[0].ResolutionType)
	text := strings.Join(got.Notices, "\n")
	for _, want := range []string{"--base_model_precision=bf16", "--cache_dir_vae", "--dataloader_prefetch", "--lr_scheduler=cosine"} {
		require.Contains(t, text, want)
	}
	data, err := json.Marshal(got.Resolved)
	require.NoError(t, err)
	require.Contains(t, string(data), `"checkpoint_step_interval":500`)
}
