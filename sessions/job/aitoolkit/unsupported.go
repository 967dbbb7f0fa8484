package aitoolkit

import (
	"maps"
	"reflect"
	"slices"

	"github.com/stepd/stepd/sessions/job/internal/values"
)

// harmless options have no counterpart here, and no influence on the result.
var harmless = []string{
	"device", "performance_log_every", "log_dir", "sqlite_db_path", "torch_profiler",
	"logging.use_wandb", "logging.project_name", "logging.run_name", "logging.use_ui_logger", "logging.verbose",
	"model.low_vram", "model.quantize_kwargs", "model.compile", "model.block_compile", "model.compile_mode", "model.compile_fullgraph",
	"model.compile_dynamic", "model.layer_offloading", "model.layer_offloading_transformer_percent",
	"model.layer_offloading_text_encoder_percent", "model.auto_memory", "model.qtype", "model.qtype_te",
	"train.attention_backend", "train.sdp", "train.xformers", "train.cache_text_embeddings", "train.unload_text_encoder",
	"train.text_encoder_lr", "train.num_train_timesteps", "model.dtype",
	"save.push_to_hub", "save.hf_repo_id", "save.hf_private",
}

// refused options change the result, and this version cannot do what they ask; each is fine at the value given.
var refused = map[string]any{
	"model.quantize": false, "model.quantize_te": false, "model.assistant_lora_path": nil, "model.inference_lora_path": nil,
	"model.lora_path": nil, "model.accuracy_recovery_adapter": nil, "model.vae_path": nil, "model.te_name_or_path": nil,
	"model.extras_name_or_path": nil, "model.split_model_over_gpus": false, "model.attn_masking": false,
	"train.train_text_encoder": false, "train.train_unet": true, "train.unet_lr": nil, "train.adapter_lr": nil, "train.embedding_lr": nil, "train.content_or_style": "balanced", "train.min_denoising_steps": 0.0,
	"train.max_denoising_steps": 999.0, "train.linear_timesteps": false, "train.linear_timesteps2": false,
	"train.loss_target": "noise", "train.noise_multiplier": 1.0, "train.target_noise_multiplier": 1.0,
	"train.random_noise_shift": 0.0, "train.random_noise_multiplier": 0.0, "train.dynamic_noise_offset": false,
	"train.latent_multiplier": 1.0, "train.img_multiplier": 1.0, "train.noisy_latent_multiplier": 1.0,
	"train.learnable_snr_gos": false, "train.max_loss": nil, "train.pred_scaler": 1.0, "train.reg_weight": 1.0,
	"train.prompt_dropout_prob": 0.0, "train.prompt_saturation_chance": 0.0, "train.negative_prompt": nil,
	"train.do_cfg": false, "train.do_random_cfg": false, "train.cfg_scale": 1.0, "train.max_cfg_scale": 1.0, "train.cfg_rescale": 1.0,
	"train.do_guidance_loss": false, "train.do_differential_guidance": false, "train.diff_output_preservation": false,
	"train.blank_prompt_preservation": false, "train.inverted_mask_prior": false, "train.start_step": nil,
	"train.single_item_batching": false, "train.short_and_long_captions": false, "train.optimal_noise_pairing_samples": 1.0,
	"train.force_consistent_noise": false, "train.blended_blur_noise": false, "train.do_paramiter_swapping": false,
	"train.weight_jitter": 0.0, "train.merge_network_on_save": false, "train.validation_config": nil,
	"train.bypass_guidance_embedding": false, "train.ema_config.use_feedback": false, "train.ema_config.param_multiplier": 1.0,
	"embedding": nil, "decorator": nil, "adapter": nil, "slider": nil, "guidance": nil, "first_sample": nil,
}

var refusedInDatasets = map[string]any{
	"token_dropout_rate": 0.0, "shuffle_tokens": false, "keep_tokens": 0.0, "random_triggers": nil, "replacements": nil,
	"batch_size": nil, "scale": 1.0, "random_scale": false, "augments": nil, "augmentations": nil, "control_path": nil,
	"inpaint_path": nil, "controls": nil, "mask_path": nil, "alpha_mask": false, "unconditional_path": nil, "is_reg": false,
	"prior_reg": false, "network_weight": 1.0, "loss_multiplier": 1.0, "use_short_captions": false, "num_frames": 1.0,
	"do_i2v": false, "do_audio": false,
}

var harmlessInDatasets = []string{
	"cache_latents", "cache_latents_to_disk", "cache_text_embeddings", "num_workers", "prefetch_factor", "cache_latents_num_workers",
	"fast_image_size", "bucket_tolerance", "random_triggers_max", "type",
}

func (t *translation) unsupported(s *section) { refuseUnsupported(s, refused, harmless) }

func refuseUnsupported(s *section, refused map[string]any, harmless []string) {
	for _, path := range slices.Sorted(maps.Keys(refused)) {
		value, fine := s.get(path), refused[path]
		if value == nil || isEmpty(value) || values.Equal(value, fine) {
			continue
		}
		s.t.refuse(s.at(path), "%v is not supported by this version; leave the option out", values.Show(value))
	}
	for _, path := range harmless {
		if s.get(path) != nil {
			s.t.warn("%s has no effect here", s.at(path))
		}
	}
}

func isEmpty(value any) bool {
	v := reflect.ValueOf(value)
	return (v.Kind() == reflect.Slice || v.Kind() == reflect.Map || v.Kind() == reflect.String) && v.Len() == 0
}
