package simpletuner

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

var loraOf8 = map[string]string{"model_type": "lora", "lora_rank": "8"}

// refusals are what validate refuses of single options, with the texts that clients look for.
var refusals = []struct {
	changes map[string]string
	problem string
}{
	{map[string]string{"max_train_steps": "0"}, "--max_train_steps: " + bothZero},
	{map[string]string{"max_train_steps": ""}, bothZero},
	{map[string]string{"num_train_epochs": "2"}, "--num_train_epochs: " + bothSet},
	{map[string]string{"num_train_epochs": "None"}, bothSet}, // the default is 1
	{map[string]string{"max_train_steps": "abc"}, "--max_train_steps: \"abc\" is not a whole number"},
	{map[string]string{"max_train_steps": "-3"}, "--max_train_steps: -3 is outside 0 to"},
	{map[string]string{"num_train_epochs": "many"}, "--num_train_epochs: \"many\" is not a number"},
	{map[string]string{"num_train_epochs": "1", "max_train_steps": "0"}, "--num_train_epochs: the steps of an epoch are not known"},
	{map[string]string{"lr_warmup_steps": "0.5"}, "--lr_warmup_steps: 0.5 is not a whole number"},
	{map[string]string{"pretrained_model_name_or_path": ""}, "--pretrained_model_name_or_path: cannot be empty"},
	{map[string]string{"pretrained_model_name_or_path": "no/such"}, "--pretrained_model_name_or_path: model no/such is not on this machine"},
	{map[string]string{"pretrained_model_name_or_path": "../../etc"}, "is not the name of a model"},
	{map[string]string{"output_dir": ""}, "--output_dir: Output directory is required."},
	{map[string]string{"output_dir": "../x"}, "--output_dir: \"../x\" leads out"},
	{map[string]string{"output_dir": "a/.hidden"}, "--output_dir: \".hidden\" cannot be the name"},
	{map[string]string{"tracker_project_name": ""}, "--tracker_project_name: Project name is required."},
	{map[string]string{"resolution": "128"}, "--resolution: "},
	{map[string]string{"base_model_precision": "int8-quanto"}, "--base_model_precision: \"int8-quanto\" cannot be used with model_type=full"},
	{merged(loraOf8, "base_model_precision", "int8-quanto"), "--base_model_precision: \"int8-quanto\": quantised weights"},
	{map[string]string{"quantization_config": `{"a": 1}`}, "--quantization_config: "},
	{merged(loraOf8, "deepspeed_config", "zero.json"), "--deepspeed_config: cannot be used with model_type=lora"},
	{map[string]string{"model_family": "flux"}, "--model_family: \"flux\" is not a family that this version trains; it trains pixart_sigma"},
	{map[string]string{"model_family": "None"}, "--model_family: is missing"},
	{map[string]string{"model_type": "None"}, "--model_type: is missing"},
	{map[string]string{"model_type": "half"}, "--model_type: \"half\" is not one of full, lora"},
	{map[string]string{"pretrained_model_name_or_path": "None", "model_flavour": "1B"}, "--model_flavour: \"1B\" is not one of 600M-1024"},
	{map[string]string{"optimizer": "optimi-lion"}, "--optimizer: \"optimi-lion\" is not supported by this version; use adamw, adamw_bf16, optimi-adamw"},
	{map[string]string{"optimizer_beta1": "0.8"}, "--optimizer_beta1: and --optimizer_beta2 are set together"},
	{map[string]string{"optimizer_config": "speed=3"}, "--optimizer_config: speed is not a parameter"},
	{map[string]string{"optimizer_config": "betas=0.9"}, "is not two numbers"},
	{map[string]string{"optimizer_config": "eps=abc"}, "eps=abc is not a number that fits"},
	{map[string]string{"lr_scheduler": "sine"}, "--lr_scheduler: \"sine\" is not supported"},
	{map[string]string{"lr_scheduler": "polynomial", "lr_end": "0.1"}, "--lr_end: 0.1 must be below the learning rate"},
	{map[string]string{"lr_scheduler": "cosine", "lr_end": "0.1"}, "--lr_end: 0.1 is above the learning rate"},
	{map[string]string{"train_batch_size": ""}, "--train_batch_size: 0 is outside 1 to 4096"},
	{map[string]string{"gradient_accumulation_steps": "0"}, "--gradient_accumulation_steps: 0 is outside"},
	{merged(loraOf8, "lora_alpha", "0"), "--lora_alpha: "},
	{map[string]string{"resume_from_checkpoint": "somewhere"}, "--resume_from_checkpoint: \"somewhere\" is neither latest"},
	{map[string]string{"validation_resolution": "big"}, "--validation_resolution: \"big\" is not a size"},
	{map[string]string{"validation_resolution": ","}, "--validation_resolution: names no size"},
	{map[string]string{"validation_resolution": "1024x32"}, "with sides from 64"},
	{map[string]string{"validation_noise_scheduler": "unipc"}, "--validation_noise_scheduler: \"unipc\" is not supported"},
	{map[string]string{"report_to": "wandb,comet_ml"}, "--report_to: \"comet_ml\" is not supported"},
	{merged(loraOf8, "lora_type", "lycoris"), "--lora_type: \"lycoris\" is not supported"},
	{merged(loraOf8, "init_lora", "../../x.safetensors"), "--init_lora: \"../../x.safetensors\" leads out"},
}

func TestRefusals(t *testing.T) {
	roots := makeRoots(t)
	for _, test := range refusals {
		_, err := translate(t, roots, test.changes)
		require.ErrorContains(t, err, test.problem, "%v", test.changes)
	}
}

func TestRefusedFiles(t *testing.T) {
	roots := makeRoots(t)
	writeConfig(t, roots, "broken.json", `[{"id": `)
	writeConfig(t, roots, "object.json", `{"id": "x"}`)
	writeConfig(t, roots, "two.json", `[] []`)
	writeConfig(t, roots, "trailing.json", `[]]`)
	writeConfig(t, roots, "list.json", `["a prompt"]`)
	require.NoError(t, syscall.Mkfifo(filepath.Join(roots.Configs, "pipe.json"), 0o600))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(roots.Configs, "link.json")))
	require.NoError(t, os.WriteFile(filepath.Join(roots.Configs, "large.json"), make([]byte, maxConfigBytes+1), 0o600))
	for _, test := range []struct {
		changes map[string]string
		problem string
	}{
		{map[string]string{"user_prompt_library": "none.json"}, "--user_prompt_library: file none.json does not exist (looked for " + roots.Configs},
		{map[string]string{"user_prompt_library": "list.json"}, "--user_prompt_library: is not an object"},
		{map[string]string{"user_prompt_library": `{"a/b": "x"}`}, "cannot be part of a file name"},
		{map[string]string{"user_prompt_library": `{"a": 3}`}, "is neither a text nor an object"},
		{map[string]string{"user_prompt_library": `{"a": {"prompt": "x", "adapter_strength": 0.5}}`}, "adapter_strength 0.5 is not supported"},
		{map[string]string{"webhook_config": `{"webhook_type": "slack"}`}, "--webhook_config: webhook_type: \"slack\" is not one of raw, discord"},
		{map[string]string{"webhook_config": `{"webhook_type": "raw"}`}, "--webhook_config: callback_url: is missing"},
		{map[string]string{"webhook_config": `[{"callback_url": "http://a"}, {"callback_url": "ftp://b", "log_level": "loud"}]`}, "--webhook_config[1]: log_level: \"loud\""},
		{map[string]string{"webhook_config": `["x"]`}, "is not an object"},
		{map[string]string{"webhook_config": `{"callback_url": "http://a", "ssl_no_verify": "perhaps"}`}, "--webhook_config: ssl_no_verify: \"perhaps\" is neither"},
		{map[string]string{"webhook_config": `{"callback_url": "http://a", "reporting_interval": 1.5}`}, "--webhook_config: reporting_interval: 1.5 is not a whole number"},
		{map[string]string{"webhook_config": `{"callback_url": ["http://a"]}`}, "--webhook_config: callback_url: [\"http://a\"] is not a string"},
		{map[string]string{"webhook_config": "hooks.json"}, "--webhook_config: file hooks.json does not exist"},
		{map[string]string{"data_backend_config": "None"}, "--data_backend_config: is missing"},
		{map[string]string{"data_backend_config": "../../../etc/passwd"}, "--data_backend_config: \"../../../etc/passwd\" leads out"},
		{map[string]string{"data_backend_config": "nope.json"}, "--data_backend_config: file nope.json does not exist"},
		{map[string]string{"data_backend_config": "broken.json"}, "is not valid JSON"},
		{map[string]string{"data_backend_config": "two.json"}, "is not valid JSON: something follows"},
		{map[string]string{"data_backend_config": "trailing.json"}, "is not valid JSON"},
		{map[string]string{"data_backend_config": "object.json"}, "is not a list of datasets"},
		{map[string]string{"data_backend_config": "pipe.json"}, "is not a regular file"},
		{map[string]string{"data_backend_config": filepath.Join(roots.Configs, "pipe.json")}, "is not a regular file"},
		{map[string]string{"data_backend_config": "link.json"}, "path escapes"},
		{map[string]string{"data_backend_config": "large.json"}, "is larger than"},
		{map[string]string{"data_backend_config": roots.Configs}, "is not a regular file"},
	} {
		_, err := translate(t, roots, test.changes)
		require.ErrorContains(t, err, test.problem, "%v", test.changes)
	}
}

func merged(changes map[string]string, name, value string) map[string]string {
	all := map[string]string{name: value}
	for key, value := range changes {
		all[key] = value
	}
	return all
}

// What is done differently from what a name may suggest is said, and does not spoil the configuration.
func TestRemarks(t *testing.T) {
	roots := makeRoots(t)
	for _, test := range []struct {
		changes                      map[string]string
		warning, notice, suggestions string
	}{
		{map[string]string{"speed": "3"}, "--speed is not an option that this program knows", "", ""},
		{map[string]string{"flux_guidance_value": "3"}, "", "--flux_guidance_value belongs to another model family", ""},
		{map[string]string{"model_flavour": "1B"}, "--model_flavour: \"1B\" is not a flavour", "", ""},
		{map[string]string{"push_to_hub": "true"}, "--push_to_hub is not done", "", ""},
		{map[string]string{"clip_skip": "2"}, "", "--clip_skip has no effect", ""},
		{map[string]string{"model_type": "lora"}, "", "", "--lora_rank is not set; the rank is 16"},
		{map[string]string{"lora_rank": "8"}, "", "--lora_rank has no effect without --model_type=lora", ""},
		{map[string]string{"max_grad_norm": "1"}, "", "--max_grad_norm is lowered to 0.01", ""},
		{map[string]string{"lr_scheduler": "constant", "lr_warmup_steps": "5"}, "", "is taken as constant_with_warmup", ""},
		{map[string]string{"lr_scheduler": "linear", "lr_warmup_steps": "200"}, "--lr_warmup_steps: the warm-up of 200 steps is not shorter", "", ""},
		{map[string]string{"tokenizer_max_length": "120"}, "", "--tokenizer_max_length: pixart_sigma uses 300", ""},
		{map[string]string{"report_to": "wandb"}, "", "wandb sync", ""},
		{map[string]string{"resolution": "5000"}, "--resolution", "", ""},
		{map[string]string{"validation_resolution": "64"}, "--validation_resolution: 64 asks for pictures of 8000x8000 pixels", "", ""},
		{map[string]string{"webhook_config": `{"callback_url": "https://a", "ssl_no_verify": true, "colour": "red"}`}, "colour is not a field", "", ""},
	} {
		got, err := translate(t, roots, test.changes)
		require.NoError(t, err)
		require.Contains(t, strings.Join(got.Warnings, "\n"), test.warning)
		require.Contains(t, strings.Join(got.Notices, "\n"), test.notice)
		require.Contains(t, strings.Join(got.Suggestions, "\n"), test.suggestions)
		require.Equal(t, test.warning == "", len(got.Warnings) == 0, "%v", got.Warnings)
		require.Equal(t, test.suggestions == "", len(got.Suggestions) == 0, "%v", got.Suggestions)
		require.Subset(t, got.Job.Warnings, got.Warnings)
	}
}

func TestModelFolders(t *testing.T) {
	roots := makeRoots(t)
	cached := filepath.Join(roots.Models, "models--PixArt-alpha--PixArt-Sigma-XL-2-512-MS")
	for _, dir := range []string{"ours--tiny", "flat", "models--PixArt-alpha--PixArt-Sigma-XL-2-512-MS/snapshots/abc"} {
		fixture.Model(t, filepath.Join(roots.Models, dir))
	}
	elsewhere := t.TempDir()
	fixture.Model(t, elsewhere)
	require.NoError(t, os.MkdirAll(filepath.Join(cached, "refs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(cached, "refs", "main"), []byte("abc\n"), 0o644))
	for name, want := range map[string]string{
		"ours/tiny": filepath.Join(roots.Models, "ours--tiny"), "flat": filepath.Join(roots.Models, "flat"), elsewhere: elsewhere,
		"PixArt-alpha/PixArt-Sigma-XL-2-512-MS": filepath.Join(cached, "snapshots", "abc"),
	} {
		got, err := translate(t, roots, map[string]string{"pretrained_model_name_or_path": name})
		require.NoError(t, err)
		require.Equal(t, want, got.Job.Engine.Model)
	}
	got, err := translate(t, roots, map[string]string{"pretrained_model_name_or_path": "None", "model_flavour": "600M-512", "model_family": "pixart"})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(cached, "snapshots", "abc"), got.Job.Engine.Model)
	require.NoError(t, os.RemoveAll(filepath.Join(elsewhere, "vae")))
	_, err = translate(t, roots, map[string]string{"pretrained_model_name_or_path": elsewhere})
	require.ErrorContains(t, err, elsewhere+" is not a model in the diffusers layout: it has no vae")
	_, err = translate(t, roots, map[string]string{"pretrained_model_name_or_path": "ours/other"})
	require.ErrorContains(t, err, "looked for "+filepath.Join(roots.Models, "ours/other")+", "+filepath.Join(roots.Models, "ours--other"))
	require.ErrorContains(t, err, "put the diffusers folder of the model at "+filepath.Join(roots.Models, "ours/other"))
}

func TestFlowMatchingModels(t *testing.T) {
	roots := makeRoots(t)
	changes := map[string]string{"snr_gamma": "5", "validation_noise_scheduler": "ddim"}
	_, err := translate(t, roots, changes)
	require.NoError(t, err)
	scheduler := filepath.Join(roots.Models, "terminusresearch", "pixart-900m-1024-ft-v0.6", "scheduler")
	require.NoError(t, os.Mkdir(scheduler, 0o755))
	for text, flow := range map[string]bool{`{"_class_name": "FlowMatchEulerDiscreteScheduler"}`: true, `{"_class_name": "DPMSolverMultistepScheduler"}`: false,
		`{"use_flow_sigmas": true}`: true, `broken`: false} {
		require.NoError(t, os.WriteFile(filepath.Join(scheduler, "scheduler_config.json"), []byte(text), 0o644))
		_, err = translate(t, roots, changes)
		if flow {
			require.Equal(t, []string{"--snr_gamma", "--validation_noise_scheduler"}, fieldsOf(t, err))
		} else {
			require.NoError(t, err)
		}
		_, err = translate(t, roots, nil)
		require.NoError(t, err)
	}
	changes["prediction_type"] = "epsilon"
	_, err = translate(t, roots, changes)
	require.NoError(t, err, "prediction_type overrules the folder")
}

func TestWhatOptionsDo(t *testing.T) {
	roots := makeRoots(t)
	config := func(changes map[string]string) engine.Config {
		got, err := translate(t, roots, changes)
		require.NoError(t, err)
		return got.Job.Engine
	}
	lora := config(map[string]string{"model_type": "lora", "lora_rank": "8", "lora_alpha": "4", "lora_dropout": "0"})
	require.Equal(t, &engine.Adapter{Type: "lora", Rank: 8, Alpha: 4}, lora.Adapter)
	require.Equal(t, "fp32", lora.WeightDType)
	require.Equal(t, 16.0, config(map[string]string{"model_type": "lora"}).Adapter.Alpha)
	require.Equal(t, "fp32", config(map[string]string{"mixed_precision": "no"}).DType)
	require.Equal(t, engine.Optimizer{Name: "adamw", LR: 1e-4, Params: map[string]float64{"beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.1}},
		config(map[string]string{"optimizer": "optimi-adamw", "optimizer_config": "weight_decay=0.1"}).Optimizer)
	require.Equal(t, "fp32", config(map[string]string{"optimizer": "optimi-adamw"}).WeightDType)
	betas := config(map[string]string{"optimizer_config": "betas=0.8-0.95,eps=1e-7"}).Optimizer.Params
	require.Equal(t, map[string]float64{"beta1": 0.8, "beta2": 0.95, "eps": 1e-7, "weight_decay": 0.01}, betas)
	require.Equal(t, 0.5, config(map[string]string{"optimizer_beta1": "0.5", "optimizer_beta2": "0.6"}).Optimizer.Params["beta1"])
	require.InDelta(t, 8e-4, config(map[string]string{"lr_scale": "true", "train_batch_size": "4", "gradient_accumulation_steps": "2"}).Optimizer.LR, 1e-12)
	require.InDelta(t, 2e-4, config(map[string]string{"lr_scale": "true", "lr_scale_sqrt": "yes", "train_batch_size": "4"}).Optimizer.LR, 1e-12)
	require.Equal(t, engine.Clip{Norm: 0.01}, config(map[string]string{"grad_clip_method": "norm"}).Clip)
	require.Equal(t, engine.Clip{Value: 3}, config(map[string]string{"max_grad_norm": "3", "i_know_what_i_am_doing": "true"}).Clip)
	require.Equal(t, engine.Clip{}, config(map[string]string{"max_grad_norm": "0"}).Clip)
	require.Equal(t, &engine.EMA{Decay: 0.9}, config(map[string]string{"use_ema": "1", "ema_decay": "0.9"}).EMA)
	require.Equal(t, 0.3, config(map[string]string{"offset_noise": "true", "noise_offset": "0.3", "noise_offset_probability": "1"}).Noise.Offset)
	require.Equal(t, 0.25, config(map[string]string{"offset_noise": "true"}).Noise.OffsetProbability, "the default")
	require.Zero(t, config(map[string]string{"offset_noise": "true", "noise_offset_probability": "0"}).Noise.Offset)
	require.False(t, config(map[string]string{"disable_segmented_timestep_sampling": "true"}).Noise.Stratified)
	require.Equal(t, 5.0, config(map[string]string{"snr_gamma": "5"}).Loss.SNRGamma)
	require.Equal(t, engine.Schedule{Name: "constant_with_warmup", Steps: 200}, config(nil).Schedule)
	require.Equal(t, engine.Schedule{Name: "polynomial", Steps: 200, Power: 0.8, LREnd: 4e-7}, config(map[string]string{"lr_scheduler": "polynomial"}).Schedule)
	require.Equal(t, engine.Schedule{Name: "cosine_with_restarts", Steps: 200, Cycles: 3, LREnd: 4e-7},
		config(map[string]string{"lr_scheduler": "cosine_with_restarts", "lr_num_cycles": "3"}).Schedule)
	first, second := config(map[string]string{"seed": "-1"}).Seed, config(nil).Seed
	require.NotEqual(t, first, second)
	require.Equal(t, uint64(42), second)
}

func TestValidationAndFiles(t *testing.T) {
	roots := makeRoots(t)
	writeConfig(t, roots, "prompts.json", `{"b": "second", "a": {"caption": "first"}}`)
	writeConfig(t, roots, "hooks.json", `{"webhook_type": "discord", "webhook_url": "https://d", "message_prefix": "run", "log_level": "warning"}`)
	got, err := translate(t, roots, map[string]string{"user_prompt_library": "config/prompts.json", "validation_prompt": "third", "validation_resolution": "512, 1024x760,0.25",
		"validation_disable_unconditional": "true", "validation_noise_scheduler": "dpm++", "validation_preview": "on", "validation_preview_steps": "4",
		"webhook_config": "hooks.json", "webhook_reporting_interval": "10", "report_to": "jsonl,tensorboard,jsonl", "tracker_run_name": "", "modelspec_comment": "hello"})
	require.NoError(t, err)
	var shown []string
	for _, p := range got.Job.Sampling.Prompts {
		shown = append(shown, p.Name+" "+p.Text)
		require.Equal(t, "dpmpp_2m", p.Sampler)
		require.Equal(t, uint64(42), p.Seed)
	}
	require.Equal(t, []string{"a first", "a first", "a first", "b second", "b second", "b second", "validation third", "validation third", "validation third"}, shown)
	sizes := got.Job.Sampling.Prompts[:3]
	require.Equal(t, []int{512, 512, 1024, 752, 496, 496}, []int{sizes[0].Width, sizes[0].Height, sizes[1].Width, sizes[1].Height, sizes[2].Width, sizes[2].Height})
	require.Equal(t, 4, got.Job.Sampling.Preview)
	require.True(t, got.Job.Sampling.First)
	require.Equal(t, []job.Webhook{{Type: "discord", URL: "https://d", Prefix: "run", Level: "warning", Interval: 10}}, got.Webhooks)
	require.Equal(t, &job.Tracking{To: []string{"jsonl", "tensorboard"}, Project: "simpletuner", Run: "inline-demo"}, got.Job.Tracking)
	require.Equal(t, "hello", got.Job.Metadata["modelspec.comment"])

	got, err = translate(t, roots, map[string]string{"validation_prompt": "x", "validation_disable": "true", "webhook_config": `{"callback_url": "http://a", "auth_token": "secret"}`})
	require.NoError(t, err)
	require.Empty(t, got.Job.Sampling.Prompts)
	require.Equal(t, "secret", got.Webhooks[0].AuthToken)
	require.NotContains(t, got.Resolved, "webhook_config", "no secret is shown")
	require.Equal(t, got.Job.RunDir(), got.Resolved["output_dir"])

	for text, want := range map[string]string{"latest": job.ResumeLatest, "checkpoint-500": "checkpoint-500", "/elsewhere/checkpoint-7": "checkpoint-7", "None": job.ResumeLatest} {
		got, err = translate(t, roots, map[string]string{"resume_from_checkpoint": text})
		require.NoError(t, err)
		require.Equal(t, want, got.Job.Resume)
	}
}

func TestTheOutputFolderIsLookedAt(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	require.NoError(t, os.MkdirAll(filepath.Join(run, "checkpoint-3-rolling"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	for _, test := range []struct{ output, resume, problem string }{
		{run, "latest", ""},
		{filepath.Join(dir, "not", "yet"), "latest", ""},
		{run, "checkpoint-3", ""},
		{run, "checkpoint-3-rolling", ""},
		{run, "checkpoint-999", "--resume_from_checkpoint: " + run + " holds no checkpoint-999"},
		{filepath.Join(dir, "not", "yet"), "checkpoint-3", "--resume_from_checkpoint: "},
		{"/proc/x", "latest", "--output_dir: /proc/x cannot be written"},
		{filepath.Join(dir, "file", "x"), "latest", "--output_dir: "},
	} {
		changes := map[string]string{"output_dir": test.output, "resume_from_checkpoint": test.resume}
		_, err := Translate(Request{Options: changedForm(changes), Roots: makeRoots(t), CheckOutput: true})
		if test.problem == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, test.problem)
	}
	require.NoDirExists(t, filepath.Join(dir, "not"), "looking makes nothing")
}
