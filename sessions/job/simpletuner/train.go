package simpletuner

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

func (t *translation) seed() uint64 {
	if seed := t.integer("seed"); seed >= 0 {
		return uint64(seed)
	}
	return uint64(time.Now().UnixNano()) & (1<<32 - 1)
}

func (t *translation) adapter() {
	switch t.text("model_type") {
	case "full":
	case "lora":
		t.lora()
	default:
		if !t.hasProblem("model_type") {
			t.refuse(option("model_type"), "is missing; use full or lora")
		}
	}
}

func (t *translation) lora() {
	if t.set("deepspeed_config") {
		t.refuse(option("deepspeed_config"), "cannot be used with model_type=lora; leave it out")
	}
	if t.text("lora_type") == "lycoris" {
		t.refuse(option("lora_type"), "\"lycoris\" is not supported by this version; use standard")
	}
	if !t.set("lora_rank") {
		t.suggest("%s is not set; the rank is %d", option("lora_rank"), t.integer("lora_rank"))
	}
	rank := t.integer("lora_rank")
	alpha := float64(rank)
	if t.set("lora_alpha") {
		alpha = t.number("lora_alpha")
	}
	t.job.Engine.Adapter = &engine.Adapter{Type: "lora", Rank: int(rank), Alpha: alpha, Dropout: t.number("lora_dropout")}
	if path := t.text("init_lora"); path != "" {
		if !filepath.IsAbs(path) {
			if !filepath.IsLocal(path) {
				t.refuse(option("init_lora"), "%q leads out of the folder of models; name a file inside it, or its absolute path", path)
			}
			path = filepath.Join(t.request.Roots.Models, path)
		}
		t.allowed(option("init_lora"), path)
		t.job.Engine.Adapter.Init = path
	}
}

// optimizers of this version by the original's names. optimi-adamw keeps what bf16 weights lose in a second buffer; fp32
// weights do the same.
var optimizers = map[string]engine.Optimizer{
	"adamw_bf16":   {Name: "adamw_bf16", Params: map[string]float64{"beta1": 0.9, "beta2": 0.999, "eps": 1e-6, "weight_decay": 0.01}},
	"optimi-adamw": {Name: "adamw", Params: map[string]float64{"beta1": 0.9, "beta2": 0.99, "eps": 1e-6, "weight_decay": 0.01}},
	"adamw":        {Name: "adamw", Params: map[string]float64{"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01}},
}

func (t *translation) optimizer() {
	name := t.text("optimizer")
	known, ok := optimizers[name]
	if !ok {
		t.refuse(option("optimizer"), "%q is not supported by this version; use %s", name, strings.Join(sortedKeys(optimizers), ", "))
		return
	}
	o := &t.job.Engine.Optimizer
	o.Name, o.Params = known.Name, map[string]float64{}
	for param, value := range known.Params {
		o.Params[param] = value
	}
	if t.set("optimizer_beta1") != t.set("optimizer_beta2") {
		t.refuse(option("optimizer_beta1"), "and --optimizer_beta2 are set together or not at all")
	}
	for i, param := range []string{"beta1", "beta2"} {
		if given := []string{"optimizer_beta1", "optimizer_beta2"}[i]; t.set(given) {
			o.Params[param] = t.number(given)
		}
	}
	t.optimizerConfig(o.Params)
	if t.flag("lr_scale") {
		factor := float64(t.job.BatchSize * t.job.Accumulation())
		if t.flag("lr_scale_sqrt") {
			factor = math.Sqrt(factor)
		}
		o.LR *= factor
	}
}

// optimizerConfig reads "name=value,…" over the parameters.
func (t *translation) optimizerConfig(params map[string]float64) {
	field := option("optimizer_config")
	for _, pair := range splitList(t.text("optimizer_config")) {
		name, text, _ := strings.Cut(pair, "=")
		names, texts := []string{name}, []string{text}
		if name == "betas" {
			names, texts = []string{"beta1", "beta2"}, strings.Split(text, "-")
		}
		if len(names) != len(texts) {
			t.refuse(field, "betas=%s is not two numbers; write betas=0.9-0.99", text)
			continue
		}
		for i, name := range names {
			_, known := params[name]
			value, ok := values.Number(texts[i])
			switch {
			case !known:
				t.refuse(field, "%s is not a parameter of %s; it has %s", name, t.text("optimizer"), strings.Join(sortedKeys(params), ", "))
			case !ok || value < 0 || name != "weight_decay" && value >= 1 || value > 1000:
				t.refuse(field, "%s=%s is not a number that fits", name, texts[i])
			default:
				params[name] = value
			}
		}
	}
}

// objective says how timesteps and noise are drawn, gradients are limited and weights averaged.
func (t *translation) objective() {
	c := &t.job.Engine
	c.Noise.SampleLatents = true
	c.Noise.Stratified = t.family().segmented && !t.flag("disable_segmented_timestep_sampling")
	if t.flag("offset_noise") {
		if probability := t.number("noise_offset_probability"); probability > 0 {
			c.Noise.Offset, c.Noise.OffsetProbability = t.number("noise_offset"), probability
		}
	}
	t.clip()
	if !t.flag("use_ema") {
		return
	}
	c.EMA = &engine.EMA{Decay: t.number("ema_decay")}
}

func (t *translation) clip() {
	limit := t.number("max_grad_norm")
	if least := t.family().clip; least > 0 && limit > least && !t.flag("i_know_what_i_am_doing") {
		if t.set("max_grad_norm") {
			t.notice("%s is lowered to %v, as the original does for this family; --i_know_what_i_am_doing=true keeps it", option("max_grad_norm"), least)
		}
		limit = least
	}
	if t.text("grad_clip_method") == "norm" {
		t.job.Engine.Clip.Norm = limit
	} else {
		t.job.Engine.Clip.Value = limit
	}
}

// schedule comes after the length, for which most schedules are planned.
func (t *translation) schedule() {
	s := &t.job.Engine.Schedule
	s.Name, s.Steps = t.text("lr_scheduler"), t.job.Steps
	s.Cycles = 0
	switch s.Name {
	case "sine":
		t.refuse(option("lr_scheduler"), "\"sine\" is not supported by this version; use cosine, cosine_with_restarts, polynomial, linear or constant_with_warmup")
	case "cosine_with_warmup", "cosine":
		s.Name = "cosine"
		t.notice("%s=%s rises over %d steps and then falls along a cosine to lr_end at step %d", option("lr_scheduler"), t.text("lr_scheduler"), s.Warmup, s.Steps)
	case "cosine_with_restarts":
		s.Cycles = t.number("lr_num_cycles")
	case "constant":
		if s.Warmup > 0 {
			s.Name = "constant_with_warmup"
			t.notice("%s=constant with %s is taken as constant_with_warmup", option("lr_scheduler"), option("lr_warmup_steps"))
		}
	}
	rate := t.job.Engine.Optimizer.LR
	switch s.Name {
	case "polynomial":
		if s.LREnd >= rate {
			t.refuse(option("lr_end"), "%v must be below the learning rate %v", s.LREnd, rate)
		}
	case "cosine", "cosine_with_restarts":
		if s.LREnd > rate {
			t.refuse(option("lr_end"), "%v is above the learning rate %v; lower it", s.LREnd, rate)
		}
	default:
		s.LREnd, s.Power = 0, 0
	}
	if s.Name != "polynomial" {
		s.Power = 0
	}
	if s.Name != "constant" && s.Name != "constant_with_warmup" && s.Steps > 0 && s.Warmup >= s.Steps {
		t.warn("%s: the warm-up of %d steps is not shorter than the training of %d; the learning rate never falls", option("lr_warmup_steps"), s.Warmup, s.Steps)
	}
}

const (
	bothZero = "Either num_train_epochs or max_train_steps must be greater than 0. You cannot set both to 0."
	bothSet  = "num_train_epochs and max_train_steps cannot both be set. Set one of them to 0."
)

// length decides the number of steps: given, or from whole epochs over the data.
func (t *translation) length() {
	epochs, steps := t.number("num_train_epochs"), t.integer("max_train_steps")
	switch {
	case t.hasProblem("num_train_epochs", "max_train_steps"):
		t.job.Steps = 1 // whatever it should be
	case epochs == 0 && steps == 0:
		t.refuse(option("max_train_steps"), bothZero)
	case epochs > 0 && steps > 0:
		t.refuse(option("num_train_epochs"), bothSet)
	case steps > 0:
		t.job.Steps = steps
	default:
		t.job.Steps = t.stepsOf(epochs)
	}
}

func (t *translation) hasProblem(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return t.hasField(option(name)) })
}

func (t *translation) output() {
	field, dir := option("output_dir"), t.text("output_dir")
	if strings.TrimSpace(dir) == "" {
		t.refuse(field, "Output directory is required.")
		return
	}
	if !filepath.IsAbs(dir) {
		if !filepath.IsLocal(dir) {
			t.refuse(field, "%q leads out of the folder of outputs; name a folder inside it, or an absolute path", dir)
			return
		}
		dir = filepath.Join(t.request.Roots.Outputs, dir)
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		t.refuse(field, "%v", err)
		return
	}
	if !t.allowed(field, absolute) {
		return
	}
	t.job.Output, t.job.Name = filepath.Split(absolute)
	t.job.Output = filepath.Clean(t.job.Output)
	if !job.ValidName(t.job.Name) {
		t.refuse(field, "%q cannot be the name of a folder; use 1 to 200 characters without control characters, not starting with a dot", t.job.Name)
	}
	t.job.Save.Style = job.StyleSimpleTuner
	t.resume()
	if t.request.CheckOutput && !t.hasProblem("output_dir", "resume_from_checkpoint") {
		t.checkOutput()
	}
}

func (t *translation) resume() {
	switch text := t.text("resume_from_checkpoint"); text {
	case "", "latest":
		t.job.Resume = job.ResumeLatest
	default:
		t.job.Resume = filepath.Base(text)
		if !job.ValidName(t.job.Resume) || !strings.HasPrefix(t.job.Resume, "checkpoint-") {
			t.refuse(option("resume_from_checkpoint"), "%q is neither latest nor the name of a checkpoint folder, as checkpoint-500", text)
		}
	}
}

// checkOutput looks at the run folder, which need not exist yet.
func (t *translation) checkOutput() {
	dir := t.job.RunDir()
	if err := probeFolder(dir); err != nil {
		t.refuse(option("output_dir"), "%s cannot be written (%v); name another folder, or give the server's user the right to write there", dir, err)
	}
	if t.job.Resume == job.ResumeLatest {
		return
	}
	// The checkpoint of a step has one of two names, and either finds it.
	name := strings.TrimSuffix(t.job.Resume, rollingSuffix)
	for _, name := range []string{name, name + rollingSuffix} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.IsDir() {
			return
		}
	}
	t.refuse(option("resume_from_checkpoint"), "%s holds no %s; name a checkpoint that is there, or latest", dir, t.job.Resume)
}

// rollingSuffix ends the names of checkpoints that are kept apart.
const rollingSuffix = "-rolling"

// probeFolder tells whether files can be made in a folder, or where it would have to be made.
func probeFolder(dir string) error {
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Lstat(dir); err == nil {
			break
		}
	}
	probe, err := os.MkdirTemp(dir, ".tmp-")
	var failed *fs.PathError
	if errors.As(err, &failed) { // without the made-up name
		return fmt.Errorf("nothing can be made in %s: %w", dir, failed.Err)
	}
	return os.Remove(probe)
}
