package simpletuner

import (
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// fieldCase is fields of a dataset, and what they make of it.
type fieldCase struct {
	changes map[string]any
	want    func(d *job.Dataset)
}

// assertFields translates a dataset with each of the fields.
func assertFields(t *testing.T, tests []fieldCase) {
	t.Helper()
	roots := makeRoots(t)
	writeConfig(t, roots, "filters.txt", "\ufeffbad \ns/a/b/\n\n")
	base := job.Dataset{ID: "demo", Folder: filepath.Join(roots.Datasets, "demo"), Captions: job.CaptionsFilename, Resolution: 1024,
		ResolutionType: job.ResolutionArea, BucketStep: 64, AspectRounding: 2, BucketStyle: "simpletuner", Crop: "random", Repeats: 1}
	for _, test := range tests {
		got, err := withDataset(t, roots, test.changes)
		require.NoError(t, err, "%v", test.changes)
		want := base
		test.want(&want)
		require.Equal(t, []job.Dataset{want}, got.Job.Datasets, "%v", test.changes)
		require.Empty(t, got.Job.Mixing)
		require.Empty(t, got.Warnings)
	}
}

func TestFieldsOfDatasets(t *testing.T) {
	assertFields(t, []fieldCase{
		{nil, func(*job.Dataset) {}},
		{map[string]any{"repeats": 3}, func(d *job.Dataset) { d.Repeats = 4 }},
		{map[string]any{"crop": true}, func(d *job.Dataset) { d.Square = true }},
		{map[string]any{"crop": true, "crop_aspect": "preserve", "crop_style": "centre"}, func(d *job.Dataset) { d.Crop = "center" }},
		{map[string]any{"crop": true, "crop_aspect": "closest", "crop_aspect_buckets": []any{0.75, 1}, "crop_style": "corner"}, func(d *job.Dataset) {
			d.Crop, d.CropAspect, d.CropAspects = "corner", job.AspectClosest, []float64{0.75, 1}
		}},
		{map[string]any{"crop": true, "crop_aspect": "random", "crop_aspect_buckets": []any{1.5}}, func(d *job.Dataset) {
			d.CropAspect, d.CropAspects = job.AspectRandom, []float64{1.5}
		}},
		{map[string]any{"resolution": 512, "resolution_type": "pixel", "minimum_image_size": 256, "maximum_image_size": 2048, "target_downsample_size": 768}, func(d *job.Dataset) {
			d.Resolution, d.ResolutionType, d.MinimumSize, d.MaximumSize, d.TargetSize = 512, job.ResolutionPixel, 256, 2048, 768
		}},
		{map[string]any{"resolution": "0.5", "resolution_type": "area"}, func(d *job.Dataset) { d.Resolution, d.ResolutionType = 0.5, job.ResolutionMegapixel }},
		{map[string]any{"minimum_aspect_ratio": 0.5, "maximum_aspect_ratio": 2, "max_num_samples": 10}, func(d *job.Dataset) {
			d.MinimumAspect, d.MaximumAspect, d.MaxSamples = 0.5, 2, 10
		}},
		{map[string]any{"caption_strategy": "textfile", "disable_multiline_split": true}, func(d *job.Dataset) {
			d.Captions, d.DropUncaptioned = job.CaptionsTextFile, true
		}},
		{map[string]any{"caption_strategy": "textfile"}, func(d *job.Dataset) {
			d.Captions, d.DropUncaptioned, d.SplitCaptions = job.CaptionsTextFile, true, true
		}},
		{map[string]any{"caption_strategy": "instanceprompt", "instance_prompt": "sks"}, func(d *job.Dataset) { d.Captions, d.DefaultCaption = job.CaptionsFixed, "sks" }},
		{map[string]any{"only_instance_prompt": true, "instance_prompt": "sks"}, func(d *job.Dataset) { d.Captions, d.DefaultCaption = job.CaptionsFixed, "sks" }},
		{map[string]any{"prepend_instance_prompt": true, "instance_prompt": "sks"}, func(d *job.Dataset) { d.CaptionPrefix = "sks" }},
		{map[string]any{"caption_filter_list": []any{"x", "s/y/z/"}}, func(d *job.Dataset) { d.CaptionFilters = []string{"x", "s/y/z/"} }},
		{map[string]any{"caption_filter_list": "config/filters.txt"}, func(d *job.Dataset) { d.CaptionFilters = []string{"bad ", "s/a/b/"} }},
		{map[string]any{"instance_data_dir": nil, "instance_data_root": "demo", "metadata_backend": "json"}, func(*job.Dataset) {}},
		{map[string]any{"probability": 0.5}, func(d *job.Dataset) { d.Probability = 0.5 }},
		{map[string]any{"cache_dir_vae": "/x", "vae_cache_ondemand": true, "is_regularisation_data": false}, func(*job.Dataset) {}},
		{map[string]any{"skip_file_discovery": false}, func(*job.Dataset) {}},
	})
}

func TestFieldsOfShufflesAndSchedules(t *testing.T) {
	assertFields(t, []fieldCase{
		{map[string]any{"caption_shuffle": map[string]any{"enable": true}}, func(d *job.Dataset) {
			d.Shuffle = &job.CaptionShuffle{Count: 1, Seed: 42, SplitOn: "comma", WithOriginal: true}
		}},
		{map[string]any{"caption_shuffle": map[string]any{"enable": true, "count": 3, "seed": 43, "split_on": "space", "position_start": 1, "include_original": false}}, func(d *job.Dataset) {
			d.Shuffle = &job.CaptionShuffle{Count: 3, Seed: 43, SplitOn: "space", Keep: 1}
		}},
		{map[string]any{"caption_shuffle": map[string]any{"enable": false, "count": 3}}, func(*job.Dataset) {}},
		{map[string]any{"caption_shuffle": map[string]any{}}, func(*job.Dataset) {}},
		{map[string]any{"vae_cache_clear_each_epoch": true}, func(d *job.Dataset) { d.NewCrops = true }},
		{map[string]any{"vae_cache_clear_each_epoch": true, "crop_style": "corner"}, func(d *job.Dataset) { d.Crop = "corner" }},
		{map[string]any{"train_batch_size": 3}, func(d *job.Dataset) { d.BatchSize = 3 }},
		{map[string]any{"train_batch_size": 1}, func(*job.Dataset) {}}, // that of the option
		{map[string]any{"start_epoch": 1, "start_step": 1, "end_epoch": 0, "end_step": nil}, func(*job.Dataset) {}},
		{map[string]any{"start_epoch": 0, "start_step": 0, "end_step": 250}, func(d *job.Dataset) { d.EndStep = 250 }},
	})
}

func TestDatasetsThatAreRefused(t *testing.T) {
	roots := makeRoots(t)
	for _, test := range []struct {
		changes map[string]any
		problem string
	}{
		{map[string]any{"type": "aws"}, "dataset demo: type: \"aws\" is not supported by this version; put the pictures into a folder"},
		{map[string]any{"dataset_type": "conditioning"}, "dataset demo: dataset_type: \"conditioning\" is not supported"},
		{map[string]any{"dataset_type": "video"}, "\"video\" is not supported"},
		{map[string]any{"instance_data_dir": nil}, "dataset demo: instance_data_dir: is missing"},
		{map[string]any{"instance_data_dir": ""}, "instance_data_dir: is missing"},
		{map[string]any{"instance_data_dir": "../up"}, "leads out"},
		{map[string]any{"instance_data_dir": "/no/such/folder"}, "/no/such/folder is not a folder"},
		{map[string]any{"caption_strategy": "csv"}, "dataset demo: caption_strategy: \"csv\" is not supported"},
		{map[string]any{"caption_strategy": "instanceprompt"}, "dataset demo: instance_prompt: is missing"},
		{map[string]any{"prepend_instance_prompt": true}, "dataset demo: instance_prompt: is missing"},
		{map[string]any{"text_embeds": "nobody"}, "dataset demo: text_embeds: \"nobody\" is not the id"},
		{map[string]any{"metadata_backend": "huggingface"}, "dataset demo: metadata_backend: \"huggingface\""},
		{map[string]any{"resolution_type": "area"}, "dataset demo: resolution: 1024 is outside 0.004 to 256"},
		{map[string]any{"resolution": 20}, "dataset demo: resolution: 20 is outside 64"},
		{map[string]any{"resolution": 1, "resolution_type": "area", "minimum_image_size": 512}, "is above 5 megapixels"},
		{map[string]any{"resolution": 1, "resolution_type": "area", "maximum_image_size": 20, "target_downsample_size": 1}, "is not below 20 megapixels"},
		{map[string]any{"resolution_type": "pixel", "maximum_image_size": 100, "target_downsample_size": 90}, "is at least 512 pixels"},
		{map[string]any{"maximum_image_size": 2048}, "dataset demo: target_downsample_size: is missing"},
		{map[string]any{"maximum_image_size": 2048, "target_downsample_size": 4096}, "is above maximum_image_size"},
		{map[string]any{"minimum_image_size": 3000, "maximum_image_size": 2048, "target_downsample_size": 1024}, "which leaves no picture"},
		{map[string]any{"crop_style": "face"}, "dataset demo: crop_style: \"face\" is not supported"},
		{map[string]any{"crop": true, "crop_aspect": "random"}, "dataset demo: crop_aspect_buckets: is missing"},
		{map[string]any{"crop": true, "crop_aspect": "closest", "crop_aspect_buckets": []any{"wide"}}, "\"wide\" is not an aspect ratio"},
		{map[string]any{"minimum_aspect_ratio": 0.001}, "dataset demo: minimum_aspect_ratio: 0.001 is outside"},
		{map[string]any{"minimum_aspect_ratio": 3, "maximum_aspect_ratio": 2}, "dataset demo: minimum_aspect_ratio: 3 is above"},
		{map[string]any{"caption_filter_list": []any{3}}, "dataset demo: caption_filter_list: 3 is not a text"},
		{map[string]any{"caption_filter_list": "none.txt"}, "dataset demo: caption_filter_list: file none.txt does not exist"},
		{map[string]any{"caption_filter_list": []any{"s/(/x/"}}, "dataset demo: caption_filter_list: caption filter"},
		{map[string]any{"caption_shuffle": []any{1}}, "dataset demo: caption_shuffle: "},
		{map[string]any{"caption_shuffle": map[string]any{"enable": true, "count": 0}}, "dataset demo: caption_shuffle.count: 0 is outside 1 to 1000"},
		{map[string]any{"caption_shuffle": map[string]any{"enable": true, "split_on": "tab"}}, "dataset demo: caption_shuffle.split_on: \"tab\" is not one of comma, space, period"},
		{map[string]any{"caption_shuffle": map[string]any{"enable": true, "position_start": -1}}, "dataset demo: caption_shuffle.position_start: -1 is outside"},
		{map[string]any{"train_batch_size": 0}, "dataset demo: train_batch_size: 0 is outside 1 to 4096"},
		{map[string]any{"start_step": 10}, "dataset demo: start_step: no dataset takes part in step 1, in epoch 1 (demo has start_step 10)"},
		{map[string]any{"start_epoch": 2}, "dataset demo: start_epoch: no dataset takes part in step 1"},
		{map[string]any{"end_step": 199}, "dataset demo: end_step: no dataset takes part in step 200 (demo has end_step 199); let one end later or start earlier, or train 199 steps"},
		{map[string]any{"start_step": -1}, "dataset demo: start_step: -1 is outside 0 to"},
		{map[string]any{"end_step": 1.5}, "dataset demo: end_step: 1.5 is not a whole number"},
		{map[string]any{"start_epoch": 5, "end_epoch": 4}, "dataset demo: end_epoch: 4 is before start_epoch 5"},
		{map[string]any{"id": nil}, "dataset 0: id: nothing cannot be the name"},
		{map[string]any{"id": "a\x00b"}, "dataset 0: id: "},
		{map[string]any{"id": strings.Repeat("x", 201)}, "dataset 0: id: "},
		{map[string]any{"id": "text"}, "dataset text: id: \"text\" is the name of another dataset"},
		{map[string]any{"disabled": true}, "names no dataset to train on"},
	} {
		_, err := withDataset(t, roots, test.changes)
		require.ErrorContains(t, err, test.problem, "%v", test.changes)
	}
}

func TestFoldersThatAreLinks(t *testing.T) {
	roots := makeRoots(t)
	pictures := t.TempDir()
	for name, target := range map[string]string{"whole": pictures, "broken": "/no/such/folder", "round": "round", "file": "/dev/null"} {
		require.NoError(t, os.Symlink(target, filepath.Join(roots.Datasets, name)))
	}
	got, err := withDataset(t, roots, map[string]any{"instance_data_dir": "whole"})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(roots.Datasets, "whole"), got.Job.Datasets[0].Folder)
	require.Contains(t, strings.Join(got.Notices, "\n"), "whole is a link to "+pictures+"; pictures are read from there")
	for name, target := range map[string]string{"broken": "/no/such/folder", "round": "round", "file": "/dev/null"} {
		_, err := withDataset(t, roots, map[string]any{"instance_data_dir": name})
		require.ErrorContains(t, err, "dataset demo: instance_data_dir: "+filepath.Join(roots.Datasets, name)+" is a link to "+target+", which is not a folder on this machine; mend the link")
	}
}

// several translates the fast path with this dataloader.
func several(t *testing.T, roots Roots, options map[string]string, entries ...map[string]any) (*Translation, error) {
	t.Helper()
	for i, entry := range entries {
		if entry["id"] == nil {
			entry["id"] = fmt.Sprint("d", i)
		}
		if entry["dataset_type"] == nil {
			entry["instance_data_dir"] = "demo"
		}
	}
	data, err := json.Marshal(entries)
	require.NoError(t, err)
	writeConfig(t, roots, "several.json", string(data))
	return translate(t, roots, merged(options, "data_backend_config", "several.json"))
}

func TestSeveralDatasets(t *testing.T) {
	roots := makeRoots(t)
	none := map[string]any{}
	got, err := several(t, roots, nil, none, map[string]any{"probability": 2.5}, map[string]any{"disable": true})
	require.NoError(t, err)
	require.Len(t, got.Job.Datasets, 2)
	require.Equal(t, job.MixShare, got.Job.Mixing)

	got, err = several(t, roots, map[string]string{"vae_cache_clear_each_epoch": "true"}, map[string]any{}, map[string]any{"vae_cache_clear_each_epoch": false}, map[string]any{"crop_style": "center"})
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, false}, []bool{got.Job.Datasets[0].NewCrops, got.Job.Datasets[1].NewCrops, got.Job.Datasets[2].NewCrops})

	got, err = several(t, roots, nil, map[string]any{}, map[string]any{"train_batch_size": 2})
	require.NoError(t, err)
	require.Equal(t, job.MixShare, got.Job.Mixing, "a micro-batch has one size")

	got, err = several(t, roots, nil, map[string]any{"probability": 2}, map[string]any{"probability": 2.0})
	require.NoError(t, err)
	require.Empty(t, got.Job.Mixing, "equal weights are those of shuffling all together")

	got, err = several(t, roots, map[string]string{"data_backend_sampling": "uniform", "caption_strategy": "instanceprompt", "instance_prompt": "sks", "resolution": "512"}, map[string]any{}, map[string]any{"resolution": 768})
	require.NoError(t, err)
	require.Equal(t, job.MixUniform, got.Job.Mixing)
	require.Equal(t, "sks", got.Job.Datasets[0].DefaultCaption)
	require.Equal(t, []float64{512, 768}, []float64{got.Job.Datasets[0].Resolution, got.Job.Datasets[1].Resolution})

	got, err = several(t, roots, nil, map[string]any{}, map[string]any{"text_embeds": "own"},
		map[string]any{"id": "own", "dataset_type": "text_embeds", "caption_filter_list": []any{"own"}},
		map[string]any{"id": "main", "dataset_type": "text_embeds", "default": true, "caption_filter_list": []any{"main"}, "resolution": 3},
	)
	require.NoError(t, err)
	require.Equal(t, []string{"main"}, got.Job.Datasets[0].CaptionFilters)
	require.Equal(t, []string{"own"}, got.Job.Datasets[1].CaptionFilters)
	text := strings.Join(got.Warnings, "\n")
	require.Contains(t, text, "dataset main: resolution means nothing in an entry of this type")

	_, err = several(t, roots, nil, map[string]any{"id": "same"}, map[string]any{"id": "same"})
	require.ErrorContains(t, err, "\"same\" is the name of another dataset")
	writeConfig(t, roots, "wrong.json", `[3, {"id": "demo", "instance_data_dir": "demo", "colour": "red"}]`)
	_, err = translate(t, roots, map[string]string{"data_backend_config": "wrong.json"})
	require.ErrorContains(t, err, "dataset 0: 3 is not an object")
}

func TestCheckDatasetsLeavesItsArgumentAlone(t *testing.T) {
	roots := makeRoots(t)
	list := Starter("demo")
	before, err := json.Marshal(list)
	require.NoError(t, err)
	_, err = CheckDatasets(list, roots)
	require.Equal(t, []string{"dataset demo-images: instance_data_dir"}, fieldsOf(t, err))
	after, err := json.Marshal(list)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))

	list[0].(map[string]any)["instance_data_dir"] = "demo"
	_, err = CheckDatasets(list, roots)
	require.NoError(t, err)
	entry := map[string]any{"id": 3, "instance_data_dir": "demo"}
	_, err = CheckDatasets([]any{entry}, roots)
	require.Equal(t, []string{"dataset 0: id"}, fieldsOf(t, err))
	require.Equal(t, 3, entry["id"])
}

// sizes reads picture sizes with the standard library.
type sizes struct{}

func (sizes) Probe(path string) (engine.Picture, error) {
	file, err := os.Open(path)
	if err != nil {
		return engine.Picture{}, err
	}
	defer func() { _ = file.Close() }()
	config, format, err := image.DecodeConfig(file)
	return engine.Picture{Width: config.Width, Height: config.Height, Format: format}, err
}

// makePictures makes five pictures of two sizes, with two captions each.
func makePictures(t *testing.T, dir string) {
	t.Helper()
	for i := range 5 {
		file, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", i)))
		require.NoError(t, err)
		require.NoError(t, png.Encode(file, image.NewGray(image.Rect(0, 0, 64, 64+64*(i%2)))))
		require.NoError(t, file.Close())
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.txt", i)), []byte("a\nb"), 0o644))
	}
}

func TestEpochs(t *testing.T) {
	roots := makeRoots(t)
	makePictures(t, filepath.Join(roots.Datasets, "demo"))
	for _, test := range []struct {
		epochs, batch, accumulation string
		steps                       int64
	}{
		{"1", "1", "1", 5},   // five pictures, whatever their captions
		{"1", "2", "1", 3},   // 3 and 2 pictures in two buckets
		{"2", "2", "2", 4},   // ceil(3/2) steps an epoch
		{"0.5", "1", "1", 3}, // ceil of 2.5
	} {
		form := fastPath()
		form["--num_train_epochs"], form["--train_batch_size"] = []string{test.epochs}, []string{test.batch}
		form["--gradient_accumulation_steps"], form["--max_train_steps"] = []string{test.accumulation}, []string{""}
		options, _ := FromForm(form)
		got, err := Translate(Request{Options: options, Roots: roots, Prober: sizes{}})
		require.NoError(t, err)
		require.Equal(t, test.steps, got.Job.Steps, "%+v", test)
		require.Equal(t, test.steps, got.Resolved["max_train_steps"])
		require.Equal(t, test.steps, got.Job.Engine.Schedule.Steps)
	}
	require.NoError(t, os.WriteFile(filepath.Join(roots.Datasets, "demo", "broken.png"), []byte("x"), 0o644))
	form := fastPath()
	form["--num_train_epochs"], form["--max_train_steps"] = []string{"1"}, []string{"0"}
	options, _ := FromForm(form)
	_, err := Translate(Request{Options: options, Roots: roots, Prober: sizes{}})
	require.ErrorContains(t, err, "--num_train_epochs: the steps of an epoch are not known: 1 pictures cannot be used")
}
