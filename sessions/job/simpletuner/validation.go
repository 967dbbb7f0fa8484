package simpletuner

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

var samplers = map[string]string{"": "", "ddim": "ddim", "euler": "euler", "dpm++": "dpmpp_2m"}

// validation lists the pictures: the empty prompt, the library's prompts, then the prompt of the options.
func (t *translation) validation() {
	texts := t.prompts()
	sampler, ok := samplers[t.text("validation_noise_scheduler")]
	if !ok {
		t.refuse(option("validation_noise_scheduler"), "%q is not supported by this version; use ddim, euler, dpm++, or leave it out so that the model folder decides", t.text("validation_noise_scheduler"))
	}
	sizes := t.sizes()
	if t.flag("validation_disable") {
		return
	}
	t.job.Sampling.First = t.flag("validation_on_startup")
	if t.external() || len(texts) == 0 {
		return
	}
	count := int(t.integer("num_validation_images"))
	if count == 1 {
		count = 0 // as prompts of other dialects are written
	}
	for _, p := range texts {
		for _, size := range sizes {
			t.job.Sampling.Prompts = append(t.job.Sampling.Prompts, job.Prompt{
				Text: p.text, Name: p.name, Negative: t.text("validation_negative_prompt"), Width: size[0], Height: size[1],
				Steps: int(t.integer("validation_num_inference_steps")), Guidance: t.number("validation_guidance"),
				Seed: t.validationSeed(), Sampler: sampler, Count: count})
		}
	}
	t.job.Sampling.First = t.job.Sampling.First || !t.flag("disable_benchmark")
	t.job.Sampling.Weights = map[string]string{"none": job.SampleTrained, "ema_only": job.SampleAveraged, "comparison": job.SampleBoth}[t.text("ema_validation")]
	if t.flag("validation_preview") {
		t.job.Sampling.Preview = int(t.integer("validation_preview_steps"))
	}
}

func (t *translation) validationSeed() uint64 {
	switch {
	case t.flag("validation_randomize"):
		return uint64(time.Now().UnixNano()) & (1<<32 - 1)
	case t.set("validation_seed"):
		return uint64(t.integer("validation_seed"))
	}
	return t.job.Engine.Seed
}

// namedPrompt is a prompt and the short name of its pictures.
type namedPrompt struct{ name, text string }

func (t *translation) prompts() []namedPrompt {
	library := t.library()
	prompt := t.text("validation_prompt")
	if len(library) == 0 && prompt == "" {
		return nil
	}
	var list []namedPrompt
	if !t.flag("validation_disable_unconditional") {
		list = append(list, namedPrompt{"unconditional", ""})
	}
	list = append(list, library...)
	if prompt != "" {
		list = append(list, namedPrompt{"validation", prompt})
	}
	return list
}

// library reads user_prompt_library, in the order of its names.
func (t *translation) library() []namedPrompt {
	const name = "user_prompt_library"
	document := t.document(name)
	if document == nil {
		return nil
	}
	object, ok := document.(map[string]any)
	if !ok {
		t.refuse(option(name), "is not an object of the form {name: prompt}")
		return nil
	}
	var list []namedPrompt
	for _, short := range sortedKeys(object) {
		text, err := libraryText(object[short])
		if err == nil && !job.ValidName(short) {
			err = fmt.Errorf("the name cannot be part of a file name; use letters, digits, - and _")
		}
		if err != nil {
			t.refuse(option(name), "%s: %v", values.Show(short), err)
			continue
		}
		list = append(list, namedPrompt{short, text})
	}
	return list
}

// libraryText reads an entry: a string, or an object with prompt, caption or tags.
func libraryText(entry any) (string, error) {
	switch v := entry.(type) {
	case string:
		return v, nil
	case map[string]any:
		if strength, set := v["adapter_strength"]; set && !values.Equal(strength, 1) {
			return "", fmt.Errorf("adapter_strength %s is not supported by this version; use 1 or leave it out", values.Show(strength))
		}
		for _, key := range []string{"prompt", "caption", "tags"} {
			if text, ok := v[key].(string); ok {
				return text, nil
			}
		}
	}
	return "", fmt.Errorf("%s is neither a text nor an object with prompt, caption or tags", values.Show(entry))
}

var sizePattern = regexp.MustCompile(`^(\d{1,5})[xX](\d{1,5})$`)

// largeSide is the side of a validation picture, in pixels, above which a slip is likelier than the wish.
const largeSide = 4096

// sizes reads validation_resolution; sides are rounded down to what latents and patches need.
func (t *translation) sizes() [][2]int {
	const step = 16
	field := option("validation_resolution")
	var sizes [][2]int
	for _, text := range splitList(t.text("validation_resolution")) {
		var width, height float64
		if match := sizePattern.FindStringSubmatch(text); match != nil {
			width, _ = values.Number(match[1])
			height, _ = values.Number(match[2])
		} else if number, ok := values.Number(text); ok {
			if number < 128 {
				number = math.Sqrt(number * 1e6)
			}
			width, height = number, number
		}
		if !(width >= 64 && height >= 64 && width <= 16384 && height <= 16384) {
			t.refuse(field, "%s is not a size such as 1024 or 1024x768, with sides from 64 to 16384", values.Show(text))
			continue
		}
		if max(width, height) > largeSide {
			t.warn("%s: %s asks for pictures of %.0fx%.0f pixels; numbers below 128 are megapixels, a size in pixels is written 64x64", field, text, width, height)
		}
		sizes = append(sizes, [2]int{int(width) / step * step, int(height) / step * step})
	}
	if len(sizes) == 0 && !t.hasProblem("validation_resolution") {
		t.refuse(field, "names no size; use for example 1024x1024")
	}
	return sizes
}

// document is the value of an option that is an object, a list, or the path of a JSON file with either.
func (t *translation) document(name string) any {
	value := t.value(name)
	path, isPath := value.(string)
	if !isPath {
		return value
	}
	if path = strings.TrimSpace(path); path == "" {
		return nil
	}
	data, found, err := readConfig(t.request.Roots, path)
	if err != nil {
		t.refuse(option(name), "%v", err)
		return nil
	}
	var document any
	if err := decode(data, &document); err != nil {
		t.refuse(option(name), "%s is not valid JSON: %v", found, err)
		return nil
	}
	return document
}

// trackers reads report_to.
func (t *translation) trackers() {
	tracking := &job.Tracking{Project: t.text("tracker_project_name"), Run: t.text("tracker_run_name")}
	for _, name := range trackerNames(t.value("report_to")) {
		switch name {
		case "none":
		case job.TrackJSONL, job.TrackTensorBoard, job.TrackWandb:
			tracking.To = append(tracking.To, name)
		case "all":
			tracking.To = append(tracking.To, job.TrackTensorBoard, job.TrackWandb)
		default:
			t.refuse(option("report_to"), "%q is not supported by this version; use none, jsonl, tensorboard or wandb", name)
		}
	}
	slices.Sort(tracking.To)
	if slices.Contains(tracking.To, job.TrackWandb) {
		t.notice("%s: wandb is an offline run in the run folder; upload it with \"wandb sync\"", option("report_to"))
	}
	if tracking.To = slices.Compact(tracking.To); len(tracking.To) > 0 {
		t.job.Tracking = tracking
	}
	if strings.TrimSpace(tracking.Project) == "" {
		t.refuse(option("tracker_project_name"), "Project name is required.")
	}
	if tracking.Run == "" {
		tracking.Run = t.job.Name
	}
	if comment := t.text("modelspec_comment"); comment != "" {
		t.job.Metadata = map[string]string{"modelspec.comment": comment}
	}
}

func trackerNames(value any) []string {
	switch v := value.(type) {
	case []string:
		return v
	case string:
		return splitList(v)
	}
	return nil
}
