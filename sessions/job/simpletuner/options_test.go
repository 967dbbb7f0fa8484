package simpletuner

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFold(t *testing.T) {
	folded := Fold(map[string]any{
		"--seed": 1, "seed": 2, "plain": 3, "--checkpointing_steps": 10, "checkpoint_step_interval": 20, "--validation_steps": 5, "validation_steps": 6,
		"repeats": 3, "aspect_ratio_bucketing_x": 1, "project_name": "p", "vae_cache_preprocess": "false", "save_total_limit": nil,
	})
	require.Equal(t, Options{"seed": 1, "plain": 3, "checkpoint_step_interval": 20, "validation_step_interval": 5, "tracker_project_name": "p",
		"vae_cache_ondemand": true, "checkpoints_total_limit": nil}, folded)
	require.Equal(t, folded, Fold(folded), "folding again changes nothing")
}

func TestMerge(t *testing.T) {
	saved := Options{"seed": 1, "optimizer": "adamw_bf16"}
	require.Equal(t, Options{"seed": 2}, saved.Merge(Options{"seed": 2, "optimizer": nil}))
	require.Equal(t, Options{"seed": 1, "optimizer": "adamw_bf16"}, saved, "the saved options stay as they are")
	require.Equal(t, Options{"a": 1}, Options(nil).Merge(Options{"a": 1}))
}

func TestFromForm(t *testing.T) {
	options, control := FromForm(map[string][]string{
		"__active_tab__": {"model"}, "__disabled_fields__": {"--lora_rank, optimizer,checkpointing_steps", "model_family"}, "__replace_active_config__": {"true"},
		"configs_dir": {"/x"}, "preserve_defaults": {"1"}, "__other__": {"y"}, "empty": {},
		"--train_batch_size": {"2"}, "learning_rate": {"1e-4"}, "--lr_end": {"0x1"}, "--max_train_steps": {" "}, "--num_train_epochs": {"+1"},
		"use_ema": {"false", "on"}, "validation_preview": {"false", "false"}, "validation_on_startup": {"maybe"}, "validation_prompt": {""},
		"output_dir": {""}, "--model_flavour": {"None"}, "--model_family": {"pixart"}, "--optimizer": {"adamw", ""}, "report_to": {"jsonl", "wandb"},
		"--webhook_config": {`{"callback_url": "http://a"}`}, "--user_prompt_library": {"prompts.json"}, "--lora_rank": {"8"}, "--unknown": {"3"}, "--seed": {"1 2"},
	})
	require.Equal(t, Control{ActiveTab: "model", Disabled: []string{"lora_rank", "optimizer", "checkpoint_step_interval", "model_family"}, ReplaceActiveConfig: true}, control)
	require.Equal(t, Options{
		"train_batch_size": json.Number("2"), "learning_rate": json.Number("1e-4"), "lr_end": "0x1", "max_train_steps": json.Number("0"), "num_train_epochs": "+1",
		"use_ema": true, "validation_preview": false, "validation_on_startup": "maybe", "validation_prompt": nil, "output_dir": "", "model_flavour": nil,
		"model_family": "pixart", "optimizer": nil, "checkpoint_step_interval": nil, "report_to": []any{"jsonl", "wandb"},
		"webhook_config": map[string]any{"callback_url": "http://a"}, "user_prompt_library": "prompts.json", "lora_rank": nil, "unknown": "3", "seed": "1 2",
	}, options)
	data, err := json.Marshal(options)
	require.NoError(t, err, "typed values can be saved")
	require.Contains(t, string(data), `"learning_rate":1e-4`)
}

// kontext is the tutorial's second environment, which this version does not train.
const kontext = `{
	"--model_family": "flux", "--model_flavour": "kontext", "--model_type": "lora", "--lora_type": "lycoris", "--output_dir": "kontext", "--train_batch_size": 1,
	"--gradient_accumulation_steps": 4, "--learning_rate": 0.00001, "--optimizer": "optimi-lion", "--lr_scheduler": "cosine", "--lr_warmup_steps": 200,
	"--max_train_steps": 12000, "--num_train_epochs": 0, "--validation_prompt": "a cinematic 1024px product photo of <token>", "--validation_guidance": 2.5,
	"--validation_resolution": "1024x1024", "--validation_num_inference_steps": 30, "--cache_dir_vae": "/data/cache/vae/kontext", "--seed": 777,
	"--resume_from_checkpoint": "latest", "--base_model_precision": "int8-quanto", "--dataloader_prefetch": true, "--report_to": "wandb", "--lora_rank": 16,
	"--lora_dropout": 0.05, "--conditioning_multidataset_sampling": "combined", "--clip_skip": 2, "--data_backend_config": "kontext-api-demo/multidatabackend.json"}`

func TestOtherFamiliesAreRefusedByName(t *testing.T) {
	roots := makeRoots(t)
	writeConfig(t, roots, "kontext-api-demo/multidatabackend.json", `[
	  {"id": "kontext-edit", "type": "local", "dataset_type": "image", "instance_data_dir": "demo", "conditioning_data": ["kontext-reference"],
	   "resolution": 1024, "resolution_type": "pixel_area", "caption_strategy": "textfile", "minimum_image_size": 768, "maximum_image_size": 1536,
	   "target_downsample_size": 1024, "cache_dir_vae": "/data/cache/vae/kontext/edit", "crop": true, "crop_style": "random", "crop_aspect": "square"},
	  {"id": "kontext-reference", "type": "local", "dataset_type": "conditioning", "instance_data_dir": "demo", "conditioning_type": "reference_strict",
	   "resolution": 1024, "resolution_type": "pixel_area", "cache_dir_vae": "/data/cache/vae/kontext/reference"},
	  {"id": "kontext-text-embeds", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": "/data/cache/text/kontext"}]`)
	_, err := Translate(Request{Options: Fold(parsed(t, kontext)), Roots: roots})
	require.Equal(t, []string{"--base_model_precision", "--lora_type", "--model_family", "--optimizer", "dataset kontext-edit: conditioning_data",
		"dataset kontext-reference: conditioning_type", "dataset kontext-reference: dataset_type"}, fieldsOf(t, err))
}

func TestAByteOrderMarkIsSkipped(t *testing.T) {
	var list []any
	require.NoError(t, decode([]byte("\ufeff[1]"), &list))
	require.Len(t, list, 1)
}

// Examples of the original write it as false, although it is a list of names in one text.
func TestSkipFileDiscoveryIsFalse(t *testing.T) {
	require.NoError(t, CheckValues(Options{"skip_file_discovery": false}))
	require.ErrorContains(t, CheckValues(Options{"skip_file_discovery": true}), "true is not a string")
}
