package aitoolkit

import (
	"fmt"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// datasets translates the list of folders. A list of resolutions makes one dataset of each.
func (t *translation) datasets(s *section, j *job.Job, trigger string) {
	list := s.list("datasets")
	s.use("datasets.*")
	if len(list) == 0 {
		t.refuse(s.at("datasets"), "is missing or empty; list at least one folder of pictures")
		return
	}
	for i, entry := range list {
		field := s.at(fmt.Sprintf("datasets[%d]", i))
		object, ok := entry.(map[string]any)
		if !ok {
			t.refuse(field, "is not an object")
			continue
		}
		t.dataset(newSection(t, field, object), j, i, trigger)
	}
}

func (t *translation) dataset(s *section, j *job.Job, index int, trigger string) {
	d := job.Dataset{ResolutionType: job.ResolutionArea, BucketStyle: "aitoolkit", Captions: job.CaptionsTextFile}
	applyDatasetOptions(s, &d)
	path := s.text("folder_path", "")
	path = s.text("dataset_path", path)
	if path == "" {
		t.refuse(s.at("folder_path"), "is missing; name a folder of pictures")
	}
	d.Folder = resolve(t.roots.Datasets, path)
	d.Trigger = s.text("trigger_word", trigger)
	if len(d.CaptionExtension) > 0 && d.CaptionExtension[0] != '.' {
		d.CaptionExtension = "." + d.CaptionExtension
	}
	if s.flag("random_crop", false) {
		d.Crop = "random"
	}
	if !s.flag("buckets", true) {
		d.Square = true
	}
	t.captionDropout(s, j, index)
	refuseUnsupported(s, refusedInDatasets, harmlessInDatasets)
	for k, resolution := range t.resolutions(s) {
		clone := d
		clone.Resolution = resolution
		clone.ID = fmt.Sprintf("dataset-%d", index)
		if k > 0 {
			clone.ID += fmt.Sprintf("-%g", resolution)
		}
		j.Datasets = append(j.Datasets, clone)
	}
	s.reportUnknown()
}

// captionDropout is one probability for the whole run here, so all datasets must agree.
func (t *translation) captionDropout(s *section, j *job.Job, index int) {
	rate := s.number("caption_dropout_rate", 0, 0, 1)
	if index > 0 && rate != j.Engine.CaptionDropout {
		t.refuse(s.at("caption_dropout_rate"), "%v differs from that of the first dataset (%v); use one rate for all", rate, j.Engine.CaptionDropout)
		return
	}
	j.Engine.CaptionDropout = rate
}

func (t *translation) resolutions(s *section) []float64 {
	const low, high = 16, 16384
	value := s.get("resolution")
	list, ok := value.([]any)
	if !ok {
		return []float64{s.number("resolution", 512, low, high)}
	}
	var resolutions []float64
	for _, entry := range list {
		number, ok := values.Number(entry)
		if !ok || number < low || number > high {
			t.refuse(s.at("resolution"), "%v is not a number from %d to %d", values.Show(entry), low, high)
			continue
		}
		resolutions = append(resolutions, number)
	}
	if len(list) == 0 {
		t.refuse(s.at("resolution"), "is an empty list; give at least one resolution")
	}
	return resolutions
}
