package main

import "strconv"

// document is a job of AI-Toolkit's clients.
func (l *loop) document(name string) map[string]any {
	process := map[string]any{
		"type": "sd_trainer", "training_folder": l.dir + "/outputs", "training_seed": 7,
		"model":    map[string]any{"name_or_path": l.model, "arch": "pixart_sigma", "max_sequence_length": 32},
		"datasets": []any{map[string]any{"folder_path": l.pictures, "resolution": l.resolution, "caption_dropout_rate": 0.1}},
		"train": map[string]any{
			"steps": l.steps, "batch_size": 4, "dtype": "bf16", "lr": 1e-3, "optimizer": "adamw",
			"lr_scheduler": "cosine", "gradient_accumulation": 2, "skip_first_sample": true,
		},
		"save": map[string]any{"save_every": l.every, "max_step_saves_to_keep": l.keep, "dtype": "bf16"},
	}
	return map[string]any{"job": "extension", "config": map[string]any{"name": name, "process": []any{process}}}
}

// form is a job of SimpleTuner's clients.
func (l *loop) form(output string) map[string]string {
	return map[string]string{
		"model_family": "pixart_sigma", "model_type": "full", "pretrained_model_name_or_path": l.model, "output_dir": output,
		"data_backend_config": dataloaderName, "train_batch_size": "4", "gradient_accumulation_steps": "2", "learning_rate": "0.001",
		"max_train_steps": strconv.FormatInt(l.steps, 10), "num_train_epochs": "0", "seed": "7", "validation_disable": "true",
		"checkpoint_step_interval": strconv.FormatInt(l.every, 10), "checkpoints_total_limit": strconv.Itoa(l.keep),
		"disable_benchmark": "true",
	}
}

// dataloaderName is the file of the data set in the folder of configurations.
const dataloaderName = "crash.json"
