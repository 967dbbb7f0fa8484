package simpletuner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// defaultAlignment is the multiple of pixels to which bucket sides are rounded.
const defaultAlignment = 64

// datasets reads the dataloader file.
func (t *translation) datasets() {
	t.resolution()
	const name = "data_backend_config"
	path := t.text(name)
	if path == "" {
		t.refuse(option(name), "is missing; name the dataloader JSON")
		return
	}
	data, found, err := readConfig(t.request.Roots, path)
	if err != nil {
		t.refuse(option(name), "%v", err)
		return
	}
	var document any
	if err := decode(data, &document); err != nil {
		t.refuse(option(name), "%s is not valid JSON: %v", found, err)
		return
	}
	list, ok := document.([]any)
	if !ok {
		t.refuse(option(name), "%s is not a list of datasets", found)
		return
	}
	t.entries(option(name), found, list)
}

// entries translates the datasets of a file; field and file name it in problems.
func (t *translation) entries(field, file string, list []any) {
	if len(list) > maxDatasets {
		t.refuse(field, "%s lists %d datasets, more than %d", file, len(list), maxDatasets)
		return
	}
	before, seen := len(t.problems), map[string]bool{}
	var images []*entry
	embeds := map[string]*entry{}
	for i, raw := range list {
		switch e := t.entry(i, raw, seen); {
		case e == nil:
		case e.text("dataset_type") == "text_embeds":
			embeds[e.id] = e
		default:
			images = append(images, e)
		}
	}
	for _, e := range images {
		e.image(embeds)
	}
	t.mixing()
	if len(t.job.Datasets) == 0 && len(t.problems) == before {
		t.refuse(field, "%s names no dataset to train on; add one of dataset_type image", file)
	}
}

// CheckDatasets checks the content of a dataloader file, without the options that its fields may lean on. The Translation
// holds the remarks alone; the error is a *job.Invalid with every problem.
func CheckDatasets(list []any, roots Roots) (*Translation, error) {
	t := &translation{request: Request{Roots: roots}, values: map[string]any{}, job: &job.Job{}}
	t.entries("dataloader", "it", list)
	remarks := &Translation{Warnings: t.warnings, Notices: t.notices, Suggestions: t.suggestions}
	if len(t.problems) > 0 {
		return remarks, &job.Invalid{Problems: t.problems}
	}
	return remarks, nil
}

const maxDatasets = 1000

// entry is one object of the dataloader file.
type entry struct {
	t      *translation
	id     string
	values map[string]any
}

// entry checks one object of the file; it returns nil for what is neither trained on nor meant for others.
func (t *translation) entry(index int, raw any, seen map[string]bool) *entry {
	object, ok := raw.(map[string]any)
	if !ok {
		t.refuse(fmt.Sprintf("dataset %d", index), "%s is not an object", values.Show(raw))
		return nil
	}
	e := &entry{t: t, values: map[string]any{}}
	e.id, ok = object["id"].(string)
	if !ok || !job.ValidName(e.id) {
		e.id = fmt.Sprint(index)
		t.refuse(e.field("id"), "%s cannot be the name of a dataset; give each a name of its own, of 1 to 200 characters without / \\ or control characters",
			values.Show(object["id"]))
	} else if seen[e.id] {
		t.refuse(e.field("id"), "%q is the name of another dataset as well", e.id)
	}
	seen[e.id] = true
	for _, off := range []string{"disabled", "disable"} {
		if on, ok := object[off].(bool); ok && on {
			return nil
		}
	}
	switch kind := object["dataset_type"]; kind {
	case "text_embeds":
		e.parse(object, embedsFields)
	case "eval":
		e.parse(object, nil)
		e.forgetTraining()
	default:
		e.parse(object, nil)
	}
	return e
}

// embedsFields are what an entry of type text_embeds may say.
var embedsFields = map[string]bool{"id": true, "type": true, "dataset_type": true, "default": true, "disabled": true, "disable": true,
	"cache_dir": true, "write_batch_size": true, "caption_filter_list": true, "preserve_data_backend_cache": true}

func (e *entry) field(name string) string { return "dataset " + e.id + ": " + name }

// parse checks every field against its row; only, when not nil, names those that mean something in this entry.
func (e *entry) parse(object map[string]any, only map[string]bool) {
	for _, name := range sortedKeys(object) {
		if name == "id" {
			continue // checked first, because every message names it
		}
		row, known := fields[name]
		if !known {
			e.t.warn("%s is not a field that this program knows; it has no effect", short(e.field(name)))
			continue
		}
		if only != nil && !only[name] {
			e.t.warn("%s means nothing in an entry of this type; it has no effect", e.field(name))
			continue
		}
		if value, ok := e.t.read(row, e.field(name), object[name], false); ok && value != nil {
			e.values[name] = value
		}
	}
	if backend := e.text("type"); backend != "local" {
		e.t.refuse(e.field("type"), "%q is not supported by this version; put the pictures into a folder and use local", backend)
	}
}

// value is that of the field, of the option of the same name, or the default.
func (e *entry) value(name string) any {
	if value, ok := e.values[name]; ok {
		return value
	}
	if fallback := fields[name].Default; fallback != nil {
		return fallback
	}
	return e.t.value(name)
}

func (e *entry) text(name string) string {
	text, _ := e.value(name).(string)
	return text
}

func (e *entry) flag(name string) bool {
	on, _ := e.value(name).(bool)
	return on
}

func (e *entry) number(name string) float64 {
	number, _ := values.Number(e.value(name))
	return number
}

// image translates a dataset to train on, or to evaluate.
func (e *entry) image(embeds map[string]*entry) {
	t := e.t
	kind := e.text("dataset_type")
	if kind != "image" && kind != "eval" {
		if t.hasField(e.field("dataset_type")) {
			return
		}
		t.refuse(e.field("dataset_type"), "%q is not supported by this version, which trains on image datasets", kind)
		return
	}
	d := job.Dataset{ID: e.id, BucketStyle: "simpletuner", BucketStep: int(t.integer("aspect_bucket_alignment")),
		AspectRounding: int(t.integer("aspect_bucket_rounding")), Repeats: int(e.number("repeats")) + 1}
	if backend := e.text("metadata_backend"); backend == "huggingface" {
		t.refuse(e.field("metadata_backend"), "%q is not supported by this version; use discovery or parquet", backend)
	}
	if err := copyRows(fields, e.value, &d); err != nil {
		t.refuse("dataset "+e.id, "cannot be applied: %v", err)
	}
	e.folder(&d)
	e.captions(&d)
	e.table(&d)
	e.shuffle(&d)
	e.captionFilters(&d, embeds)
	e.sizes(&d)
	e.crop(&d)
	if kind == "eval" {
		d.NewCrops = false
		t.evaluated = append(t.evaluated, d)
		return
	}
	e.schedule(&d)
	if size, ok := e.values["train_batch_size"].(int64); ok && int(size) != t.job.BatchSize {
		d.BatchSize = int(size)
	}
	t.job.Datasets = append(t.job.Datasets, d)
}

// resolution checks the option in pixels, which a number of megapixels there is not.
func (t *translation) resolution() {
	if !t.set("resolution") || t.text("resolution_type") == "area" {
		return
	}
	switch pixels := t.number("resolution"); {
	case pixels < 256:
		t.refuse(option("resolution"), "%v is below 256 pixels; give smaller sizes to single datasets, or megapixels with resolution_type area", pixels)
	case pixels > 4096:
		t.warn("%s: %v is above 4096 pixels, which few models and machines can do", option("resolution"), pixels)
	}
}

func (e *entry) folder(d *job.Dataset) {
	name, path := "instance_data_dir", e.dataFolder()
	switch {
	case path == "":
		e.t.refuse(e.field(name), "is missing; name a folder of pictures")
		return
	case !filepath.IsAbs(path) && !filepath.IsLocal(path):
		e.t.refuse(e.field(name), "%q leads out of the folder of datasets; name a folder inside it, or an absolute path", path)
		return
	case !filepath.IsAbs(path):
		path = filepath.Join(e.t.request.Roots.Datasets, path)
	}
	if !e.t.allowed(e.field(name), path) {
		return
	}
	target, linkErr := os.Readlink(path)
	switch stat, err := os.Stat(path); {
	case linkErr == nil && (err != nil || !stat.IsDir()):
		e.t.refuse(e.field(name), "%s is a link to %s, which is not a folder on this machine; mend the link, or name the folder itself", path, target)
	case linkErr == nil:
		e.t.notice("%s: %s is a link to %s; pictures are read from there", e.field(name), path, target)
	case err != nil || !stat.IsDir():
		e.t.refuse(e.field(name), "%s is not a folder on this machine", path)
	}
	d.Folder = path
}

func (e *entry) dataFolder() string {
	if path := e.text("instance_data_dir"); path != "" {
		return path
	}
	return e.text("instance_data_root")
}

func (e *entry) captions(d *job.Dataset) {
	prompt := e.text("instance_prompt")
	strategy := e.text("caption_strategy")
	switch {
	case e.flag("only_instance_prompt") || strategy == "instanceprompt" || strategy == "instance_prompt":
		d.Captions, d.DefaultCaption = job.CaptionsFixed, prompt
		if prompt == "" {
			e.t.refuse(e.field("instance_prompt"), "is missing; it is the caption of every picture")
		}
		return
	case strategy == "filename":
		d.Captions = job.CaptionsFilename
	case strategy == "textfile":
		d.Captions, d.DropUncaptioned = job.CaptionsTextFile, true
		d.SplitCaptions = !e.flag("disable_multiline_split")
	case strategy == tableStrategy:
		d.Captions, d.DropUncaptioned = job.CaptionsTable, true
	default:
		e.t.refuse(e.field("caption_strategy"), "%q is not supported by this version; use textfile, filename, instanceprompt or parquet", strategy)
	}
	if !e.flag("prepend_instance_prompt") {
		return
	}
	if d.CaptionPrefix = prompt; prompt == "" {
		e.t.refuse(e.field("instance_prompt"), "is missing; prepend_instance_prompt puts it in front of captions")
	}
}

// captionFilters takes the filters of the dataset's own entry of embeddings, else of the default one.
func (e *entry) captionFilters(d *job.Dataset, embeds map[string]*entry) {
	name := e.text("text_embeds")
	source := embeds[name]
	if name != "" && source == nil {
		e.t.refuse(e.field("text_embeds"), "%q is not the id of an entry of dataset_type text_embeds", name)
	}
	for _, id := range sortedKeys(embeds) {
		if source == nil && name == "" && embeds[id].flag("default") {
			source = embeds[id]
		}
	}
	if own := e.values["caption_filter_list"]; own != nil {
		d.CaptionFilters = e.filterLines(own)
	} else if source != nil {
		d.CaptionFilters = source.filterLines(source.values["caption_filter_list"])
	}
}

// filterLines reads a list of filters, or the file that holds one on each line.
func (e *entry) filterLines(value any) []string {
	field := e.field("caption_filter_list")
	var lines []string
	switch v := value.(type) {
	case nil:
	case string:
		data, _, err := readConfig(e.t.request.Roots, v)
		if err != nil {
			e.t.refuseOnce(field, "%v", err)
			return nil
		}
		for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				lines = append(lines, line)
			}
		}
	case []any:
		for _, entry := range v {
			line, ok := entry.(string)
			if !ok {
				e.t.refuseOnce(field, "%s is not a text", values.Show(entry))
				return nil
			}
			lines = append(lines, line)
		}
	default:
		e.t.refuseOnce(field, "%s is neither a list of filters nor the path of a file", values.Show(value))
	}
	for _, line := range lines {
		if _, err := job.ParseCaptionFilter(line); err != nil {
			e.t.refuseOnce(field, "%v", err)
		}
	}
	return lines
}

// sizes translates the resolution and the limits of sizes, which are in the same unit.
func (e *entry) sizes(d *job.Dataset) {
	d.Resolution, d.MinimumSize = e.number("resolution"), e.number("minimum_image_size")
	d.MaximumSize, d.TargetSize = e.number("maximum_image_size"), e.number("target_downsample_size")
	low, high := 64.0, 16384.0
	switch e.text("resolution_type") {
	case "pixel":
		d.ResolutionType = job.ResolutionPixel
		if d.MaximumSize > 0 && d.MaximumSize < 512 {
			e.t.refuse(e.field("maximum_image_size"), "%v: the shorter edge of the largest pictures is at least 512 pixels", d.MaximumSize)
		}
	case "pixel_area":
		d.ResolutionType = job.ResolutionArea
	case "area":
		d.ResolutionType = job.ResolutionMegapixel
		low, high = 0.004, 256
		if d.MinimumSize > 5 {
			e.t.refuse(e.field("minimum_image_size"), "%v is above 5 megapixels; with resolution_type area sizes are megapixels, not pixels", d.MinimumSize)
		}
		if d.MaximumSize >= 20 {
			e.t.refuse(e.field("maximum_image_size"), "%v is not below 20 megapixels; with resolution_type area sizes are megapixels, not pixels", d.MaximumSize)
		}
	}
	if !(d.Resolution >= low && d.Resolution <= high) {
		e.t.refuse(e.field("resolution"), "%v is outside %v to %v for resolution_type %s", d.Resolution, low, high, e.text("resolution_type"))
	}
	if d.MaximumSize > 0 && d.TargetSize == 0 {
		e.t.refuse(e.field("target_downsample_size"), "is missing; maximum_image_size needs the size to reduce to")
	}
	if d.MaximumSize > 0 && d.TargetSize > d.MaximumSize {
		e.t.refuse(e.field("target_downsample_size"), "%v is above maximum_image_size %v", d.TargetSize, d.MaximumSize)
	}
	if d.MinimumSize > 0 && d.MaximumSize > 0 && d.MinimumSize > d.MaximumSize {
		e.t.refuse(e.field("minimum_image_size"), "%v is above maximum_image_size %v, which leaves no picture", d.MinimumSize, d.MaximumSize)
	}
}

func (e *entry) crop(d *job.Dataset) {
	switch style := e.text("crop_style"); style {
	case "center", "centre":
		d.Crop = "center"
	case "random", "corner":
		d.Crop = style
	default:
		e.t.refuse(e.field("crop_style"), "%q is not supported by this version; use random, center or corner", style)
	}
	if d.NewCrops = e.flag("vae_cache_clear_each_epoch") && d.Crop == "random"; e.values["vae_cache_clear_each_epoch"] == true && !d.NewCrops {
		e.t.notice("%s has no effect without crop_style random", e.field("vae_cache_clear_each_epoch"))
	}
	if !e.flag("crop") {
		return
	}
	switch aspect := e.text("crop_aspect"); aspect {
	case "square":
		d.Square = true
	case job.AspectClosest, job.AspectRandom:
		d.CropAspect = aspect
		d.CropAspects = e.cropAspects(aspect)
	}
}

func (e *entry) cropAspects(aspect string) []float64 {
	field := e.field("crop_aspect_buckets")
	list, _ := e.value("crop_aspect_buckets").([]any)
	if len(list) == 0 {
		e.t.refuse(field, "is missing; crop_aspect %s chooses from this list of aspect ratios, as [0.75, 1.0, 1.33]", aspect)
		return nil
	}
	var aspects []float64
	for _, entry := range list {
		ratio, ok := values.Number(entry)
		if !ok || ratio < 0.01 || ratio > 100 {
			e.t.refuse(field, "%s is not an aspect ratio (width/height) from 0.01 to 100", values.Show(entry))
			continue
		}
		aspects = append(aspects, ratio)
	}
	return aspects
}

// schedule takes the first epoch and the first step as what they are: no limits.
func (e *entry) schedule(d *job.Dataset) {
	from := func(name string) int64 {
		if first := int64(e.number(name)); first > 1 {
			return first
		}
		return 0
	}
	d.StartEpoch, d.StartStep = from("start_epoch"), from("start_step")
	d.EndEpoch, d.EndStep = int64(e.number("end_epoch")), int64(e.number("end_step"))
}

// mixing follows from the weights of the datasets. Where they are the same, all samples are shuffled together, which
// draws every dataset by its share; not where datasets come or leave, or have batch sizes of their own.
func (t *translation) mixing() {
	datasets := t.job.Datasets
	if len(datasets) < 2 {
		return
	}
	same := true
	for _, d := range datasets {
		same = same && d.Probability == datasets[0].Probability
	}
	switch {
	case t.text("data_backend_sampling") == "uniform":
		t.job.Mixing = job.MixUniform
	case !same, t.job.Separate():
		t.job.Mixing = job.MixShare
	}
}
