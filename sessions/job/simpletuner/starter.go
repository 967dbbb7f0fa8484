package simpletuner

// Starter is the dataloader of a new environment: a local set of pictures whose folder is still to be named, and an entry
// for the embeddings of captions.
func Starter(environment string) []any {
	return []any{
		map[string]any{
			"id": environment + "-images", "type": "local", "dataset_type": "image", "instance_data_dir": "",
			"resolution": 1024, "resolution_type": "pixel_area", "caption_strategy": "textfile",
			"minimum_image_size": 256, "maximum_image_size": 4096, "target_downsample_size": 1024,
			"crop": true, "crop_aspect": "square", "crop_style": "center",
		},
		map[string]any{"id": environment + "-text-embeds", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": ""},
	}
}
