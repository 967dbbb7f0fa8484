package simpletuner

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// family is one row of what this version trains.
type family struct {
	engine    string            // name in engine.Config
	tokens    int64             // of text
	clip      float64           // gradients are never clipped less tightly; 0: as the option says
	segmented bool              // timesteps of a batch come from as many segments
	flavours  map[string]string // repository of each
	flavour   string            // by default
}

var pixart = family{engine: "pixart", tokens: 300, clip: 0.01, segmented: true, flavour: "900M-1024-v0.6", flavours: map[string]string{
	"900M-1024-v0.6":        "terminusresearch/pixart-900m-1024-ft-v0.6",
	"900M-1024-v0.7-stage1": "terminusresearch/pixart-900m-1024-ft-v0.7-stage1",
	"900M-1024-v0.7-stage2": "terminusresearch/pixart-900m-1024-ft-v0.7-stage2",
	"600M-512":              "PixArt-alpha/PixArt-Sigma-XL-2-512-MS",
	"600M-1024":             "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS",
	"600M-2048":             "PixArt-alpha/PixArt-Sigma-XL-2-2K-MS",
}}

// families by name; the original has renamed pixart_sigma to pixart.
var families = map[string]family{"pixart_sigma": pixart, "pixart": pixart}

func (t *translation) family() family { return families[t.text("model_family")] }

func (t *translation) model() {
	name := t.text("model_family")
	f, known := families[name]
	switch {
	case name == "":
		t.refuse(option("model_family"), "is missing; this version trains pixart_sigma")
	case !known:
		t.refuse(option("model_family"), "%q is not a family that this version trains; it trains pixart_sigma (also spelled pixart)", name)
	}
	t.job.Engine.Family, t.job.Engine.Device, t.job.Engine.TextTokens = f.engine, "cpu", int(t.integer("tokenizer_max_length"))
	t.job.Engine.Seed = t.seed()
	if !known {
		return
	}
	if t.set("tokenizer_max_length") && t.integer("tokenizer_max_length") != f.tokens {
		t.notice("%s: %s uses %d text tokens in the original, whatever is asked for; here the option counts", option("tokenizer_max_length"), name, f.tokens)
	}
	repository := t.repository(f)
	if repository == "" {
		return
	}
	field := option("pretrained_model_name_or_path")
	if named := below(t.request.Roots.Models, repository); !t.allowed(field, named) {
		return
	}
	folder, err := modelFolder(t.request.Roots.Models, repository)
	if err == nil && !t.allowed(field, folder) {
		return
	}
	if err == nil {
		err = checkParts(folder)
	}
	if err != nil {
		t.refuse(field, "%v", err)
	}
	t.job.Engine.Model = folder
}

// repository names the model: the path that is given, or that of the flavour.
func (t *translation) repository(f family) string {
	flavour := t.text("model_flavour")
	if flavour == "" {
		flavour = f.flavour
	}
	repository, known := f.flavours[flavour]
	if t.set("pretrained_model_name_or_path") {
		if repository = t.text("pretrained_model_name_or_path"); repository == "" {
			t.refuse(option("pretrained_model_name_or_path"), "cannot be empty; name a model folder, or leave it out")
		}
		if !known {
			t.warn("%s: %q is not a flavour of this family; it has no effect beside %s", option("model_flavour"), flavour, option("pretrained_model_name_or_path"))
		}
	} else if !known {
		t.refuse(option("model_flavour"), "%q is not one of %s; or name a model with %s", flavour, strings.Join(sortedKeys(f.flavours), ", "), option("pretrained_model_name_or_path"))
	}
	if strings.Contains(flavour, "-stage") && known {
		t.notice("%s: the original trains the stages of %s on parts of the timesteps (with batches above 1); here they are trained on all", option("model_flavour"), flavour)
	}
	return repository
}

// modelFolder finds a model: a folder, or a name as on the Hub below the folder of models.
func modelFolder(root, name string) (string, error) {
	var looked []string
	for _, candidate := range modelCandidates(root, name) {
		if stat, err := os.Stat(candidate); err == nil && stat.IsDir() {
			return filepath.Abs(candidate)
		}
		if !slices.Contains(looked, candidate) {
			looked = append(looked, candidate)
		}
	}
	if len(looked) == 0 {
		return "", fmt.Errorf("%q is not the name of a model; name a folder, or organisation/model", name)
	}
	return "", fmt.Errorf("model %s is not on this machine (looked for %s); nothing is downloaded: put the diffusers folder of the model at %s",
		name, strings.Join(looked, ", "), looked[0])
}

func modelCandidates(root, name string) []string {
	if strings.ContainsRune(name, 0) {
		return nil
	}
	if filepath.IsAbs(name) {
		return []string{filepath.Clean(name)}
	}
	if !filepath.IsLocal(name) {
		return nil
	}
	candidates := []string{filepath.Join(root, name)}
	if organisation, model, ok := strings.Cut(name, "/"); ok && !strings.Contains(model, "/") {
		candidates = append(candidates, filepath.Join(root, organisation+"--"+model))
		// The cache folder of the Hub's own client.
		cached := filepath.Join(root, "models--"+organisation+"--"+model)
		if revision, err := os.ReadFile(filepath.Join(cached, "refs", "main")); err == nil && filepath.IsLocal(strings.TrimSpace(string(revision))) {
			candidates = append(candidates, filepath.Join(cached, "snapshots", strings.TrimSpace(string(revision))))
		}
	}
	return candidates
}

// checkParts tells which parts a model folder lacks, so that a training does not find out after its pictures are read.
func checkParts(folder string) error {
	var missing []string
	for _, part := range []string{"transformer/config.json", "text_encoder", "tokenizer", "vae"} {
		if _, err := os.Stat(filepath.Join(folder, filepath.FromSlash(part))); err != nil {
			missing = append(missing, part)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s is not a model in the diffusers layout: it has no %s", folder, strings.Join(missing, ", no "))
	}
	return nil
}

// flowMatching tells whether the model folder's scheduler is one of flow matching, which decides what can be combined.
func (t *translation) flowMatching() bool {
	var scheduler struct {
		Class string `json:"_class_name"`
		Flow  bool   `json:"use_flow_sigmas"`
	}
	if t.text("prediction_type") != "" || t.job.Engine.Model == "" {
		return false
	}
	data, err := readInside(t.job.Engine.Model, filepath.Join("scheduler", "scheduler_config.json"))
	if err != nil || json.Unmarshal(data, &scheduler) != nil {
		return false // the engine says what is wrong with the file
	}
	return scheduler.Flow || strings.HasPrefix(scheduler.Class, "FlowMatch")
}

// flow refuses what has no meaning for models of flow matching.
func (t *translation) flow() {
	if !t.flowMatching() {
		return
	}
	if t.number("snr_gamma") > 0 {
		t.refuse(option("snr_gamma"), "has no meaning for this model, which is trained by flow matching; leave it out")
	}
	if sampler := t.text("validation_noise_scheduler"); sampler != "" {
		t.refuse(option("validation_noise_scheduler"), "%q does not sample models of flow matching, as this one; leave it out", sampler)
	}
}

func (t *translation) precision() {
	c := &t.job.Engine
	switch t.text("mixed_precision") {
	case "no", "fp32":
		c.DType, c.WeightDType = "fp32", "fp32"
	default:
		c.DType, c.WeightDType = "bf16", "fp32"
		if t.text("model_type") == "full" && t.text("optimizer") == "adamw_bf16" && t.text("base_model_default_dtype") == "bf16" {
			c.WeightDType = "bf16"
		}
	}
	t.job.Save.DType = c.DType
	switch precision := t.text("base_model_precision"); precision {
	case "no_change":
	case "bf16":
		t.notice("%s=bf16 means no_change with weights in bf16", option("base_model_precision"))
	default:
		if t.text("model_type") == "full" {
			t.refuse(option("base_model_precision"), "%q cannot be used with model_type=full, which trains the weights themselves; use no_change", precision)
		} else {
			t.refuse(option("base_model_precision"), "%q: quantised weights are not supported by this version; use no_change", precision)
		}
	}
}
