package job

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/engine"
)

// Problem is one reason why a job cannot run.
type Problem struct {
	// Field is the JSON path in the Job, as "engine.optimizer.lr" or "datasets[0].folder".
	Field string `json:"field"`
	// Message says what is wrong and what would be right.
	Message string `json:"message"`
}

func (p Problem) String() string { return p.Field + ": " + p.Message }

// Invalid is the error of a job with problems.
type Invalid struct{ Problems []Problem }

func (e *Invalid) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "job cannot run: " + strings.Join(lines, "; ")
}

// Check returns nil or an *Invalid that lists every problem.
func (j *Job) Check() error {
	if problems := j.Validate(); len(problems) > 0 {
		return &Invalid{Problems: problems}
	}
	return nil
}

// Validate returns all problems at once. It reads no files.
func (j *Job) Validate() []Problem {
	v := &validator{}
	v.run(j)
	v.engine(&j.Engine)
	v.datasets("", j.Datasets, map[string]bool{})
	v.evaluation(j.Evaluation, j.Datasets)
	v.scheduling(j)
	v.save(j.Save)
	v.tracking(j.Tracking)
	v.sampling(j.Sampling)
	if j.Scripts != nil {
		v.script("scripts.validation", j.Scripts.Validation)
		v.script("scripts.checkpoint", j.Scripts.Checkpoint)
		v.script("scripts.upload", j.Scripts.Upload)
	}
	return v.problems
}

// maxSteps bounds step counts so that step × accumulation × batch cannot overflow.
const maxSteps = int64(1) << 40

// maxBatch bounds the samples of one micro-batch.
const maxBatch = 4096

type validator struct{ problems []Problem }

func (v *validator) require(ok bool, field, format string, args ...any) {
	if !ok {
		v.problems = append(v.problems, Problem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
}

func (v *validator) oneOf(field, value string, allowed ...string) {
	v.require(slices.Contains(allowed, value), field, "%q is not one of %s", value, strings.Join(allowed, ", "))
}

// between also refuses NaN, which fails both comparisons.
func (v *validator) between(field string, value, low, high float64) {
	v.require(value >= low && value <= high, field, "%v is outside %v to %v", value, low, high)
}

func (v *validator) run(j *Job) {
	v.require(ValidName(j.Name), "name",
		"%q cannot be the name of a folder; use 1 to 200 characters without / \\ or control characters, not starting with a dot", j.Name)
	v.require(j.Output != "" && !strings.ContainsRune(j.Output, 0), "output", "is empty; name the folder for run folders")
	v.require(len(j.Datasets) > 0, "datasets", "is empty; name at least one folder of pictures")
	v.require(j.BatchSize >= 1 && j.BatchSize <= maxBatch, "batch_size", "%d is outside 1 to %d", j.BatchSize, maxBatch)
	v.require(j.Steps >= 1 && j.Steps <= maxSteps, "steps", "%d is outside 1 to %d", j.Steps, maxSteps)
	if j.Mixing != "" {
		v.oneOf("mixing", j.Mixing, MixShare, MixUniform)
	}
	v.require(j.LogEvery >= 0, "log_every", "%d is negative", j.LogEvery)
	if j.Resume != "" && j.Resume != ResumeLatest && j.Resume != ResumeNone {
		v.require(ValidName(j.Resume) && strings.HasPrefix(j.Resume, "checkpoint-"), "resume",
			"%q is neither %q, %q nor the name of a checkpoint folder", j.Resume, ResumeLatest, ResumeNone)
	}
}

// ValidName tells whether name can be a single path element on any file system in use.
func ValidName(name string) bool {
	if name == "" || len(name) > 200 || strings.HasPrefix(name, ".") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r == '\\' || r < 0x20 || r == 0x7f || r == 0xfffd })
}

func (v *validator) engine(c *engine.Config) {
	v.require(c.Model != "", "engine.model", "is empty; name a folder in the diffusers layout")
	v.oneOf("engine.dtype", c.DType, "fp32", "bf16")
	v.oneOf("engine.weight_dtype", c.WeightDType, "fp32", "bf16")
	v.require(c.Accumulation >= 0 && c.Accumulation <= 1<<20, "engine.accumulation", "%d is outside 0 to %d", c.Accumulation, 1<<20)
	v.between("engine.caption_dropout", c.CaptionDropout, 0, 1)
	v.require(c.TextTokens >= 1 && c.TextTokens <= 4096, "engine.text_tokens", "%d is outside 1 to 4096", c.TextTokens)
	v.require(c.MemoryBudget >= 0, "engine.memory_budget", "%d is negative", c.MemoryBudget)
	v.optimizer(c)
	v.objective(c)
	if c.Adapter != nil {
		v.require(c.Adapter.Rank >= 1 && c.Adapter.Rank <= 1<<16, "engine.adapter.rank", "%d is outside 1 to %d", c.Adapter.Rank, 1<<16)
		v.require(c.Adapter.Alpha > 0 && c.Adapter.Alpha <= 1e6, "engine.adapter.alpha", "%v is not above 0 and at most 1e6; it is usually the rank", c.Adapter.Alpha)
		v.below("engine.adapter.dropout", c.Adapter.Dropout, 0, 1)
	}
	if c.EMA != nil {
		v.between("engine.ema.decay", c.EMA.Decay, 0, 1)
		v.require(!c.EMA.Constant || !c.EMA.Warmup, "engine.ema.constant", "contradicts engine.ema.warmup; set one of them")
		v.unsetOrBetween("engine.ema.inv_gamma", c.EMA.InvGamma, 1e-6, 1e9)
		v.unsetOrBetween("engine.ema.power", c.EMA.Power, 1e-6, 100)
	}
}

// below is between without the upper end.
func (v *validator) below(field string, value, low, high float64) {
	v.require(value >= low && value < high, field, "%v is not at least %v and below %v", value, low, high)
}

// unsetOrBetween also takes 0, which stands for the default.
func (v *validator) unsetOrBetween(field string, value, low, high float64) {
	v.require(value == 0 || value >= low && value <= high, field, "%v is outside %v to %v", value, low, high)
}

// optimizerLimits are the ranges of the settings that optimizers have, the upper end excluded. Others are the engine's to
// refuse, which knows the settings of each optimizer.
var optimizerLimits = map[string]float64{"beta1": 1, "beta2": 1, "eps": 1, "weight_decay": 1000}

func (v *validator) optimizer(c *engine.Config) {
	v.require(c.Optimizer.Name != "", "engine.optimizer.name", "is empty; for example adamw")
	v.between("engine.optimizer.lr", c.Optimizer.LR, 0, 1e6)
	for name, value := range c.Optimizer.Params {
		field := "engine.optimizer.params." + name
		if high, known := optimizerLimits[name]; known {
			v.below(field, value, 0, high)
		} else {
			v.require(!math.IsNaN(value) && !math.IsInf(value, 0), field, "%v is not a finite number", value)
		}
	}
	v.between("engine.clip.norm", c.Clip.Norm, 0, math.MaxFloat32)
	v.between("engine.clip.value", c.Clip.Value, 0, math.MaxFloat32)
	v.schedule(&c.Schedule, c.Optimizer.LR)
}

func (v *validator) schedule(s *engine.Schedule, rate float64) {
	name := cmp(s.Name, "constant")
	v.oneOf("engine.schedule.name", name, "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial")
	v.require(s.Warmup >= 0, "engine.schedule.warmup", "%d is negative", s.Warmup)
	if name == "constant" || name == "constant_with_warmup" {
		return
	}
	v.require(s.Steps > 0, "engine.schedule.steps", "%d: a schedule that falls needs the number of steps of the run", s.Steps)
	v.between("engine.schedule.cycles", s.Cycles, 0, math.MaxFloat64)
	v.between("engine.schedule.power", s.Power, 0, math.MaxFloat64)
	if name == "polynomial" {
		v.require(s.LREnd >= 0 && s.LREnd < rate, "engine.schedule.lr_end", "%v is not at least 0 and below the learning rate %v", s.LREnd, rate)
	} else {
		v.require(s.LREnd >= 0 && s.LREnd <= rate, "engine.schedule.lr_end", "%v is not at least 0 and at most the learning rate %v", s.LREnd, rate)
	}
}

// objective checks what is predicted and how the error is measured.
func (v *validator) objective(c *engine.Config) {
	v.oneOf("engine.loss.prediction", cmp(c.Loss.Prediction, "epsilon"), "epsilon", "v_prediction", "sample", "flow")
	v.oneOf("engine.loss.type", cmp(c.Loss.Type, "l2"), "l2", "huber", "smooth_l1")
	v.oneOf("engine.loss.huber_schedule", cmp(c.Loss.HuberSchedule, "snr"), "constant", "exponential", "snr")
	v.between("engine.loss.huber_c", c.Loss.HuberC, 0, 1)
	v.between("engine.loss.snr_gamma", c.Loss.SNRGamma, 0, 1e6)
	v.oneOf("engine.noise.timesteps", cmp(c.Noise.Timesteps, "uniform"), "uniform", "sigmoid")
	v.unsetOrBetween("engine.noise.sigmoid_scale", c.Noise.SigmoidScale, 1e-3, 1e3)
	v.unsetOrBetween("engine.noise.shift", c.Noise.Shift, 1e-3, 1e3)
	v.between("engine.noise.offset", c.Noise.Offset, -10, 10)
	v.between("engine.noise.offset_probability", c.Noise.OffsetProbability, 0, 1)
}

// datasets checks the datasets below prefix; seen are the names that are taken.
func (v *validator) datasets(prefix string, datasets []Dataset, seen map[string]bool) {
	for i, d := range datasets {
		at := fmt.Sprintf("%sdatasets[%d].", prefix, i)
		v.require(d.ID != "", at+"id", "is empty")
		v.require(!seen[d.ID], at+"id", "%q is the name of another dataset as well", d.ID)
		seen[d.ID] = true
		v.require(d.Folder != "", at+"folder", "is empty; name a folder of pictures")
		v.oneOf(at+"captions", cmp(d.Captions, CaptionsTextFile), CaptionsTextFile, CaptionsFilename, CaptionsFixed, CaptionsTable)
		v.table(at, &d)
		v.shuffle(at+"caption_shuffle.", d.Shuffle)
		v.oneOf(at+"resolution_type", cmp(d.ResolutionType, ResolutionPixel), ResolutionPixel, ResolutionArea, ResolutionMegapixel)
		v.oneOf(at+"crop", cmp(d.Crop, "center"), "center", "corner", "random")
		v.oneOf(at+"bucket_style", cmp(d.BucketStyle, "simpletuner"), "simpletuner", "aitoolkit")
		low, high := 16.0, 16384.0
		if d.ResolutionType == ResolutionMegapixel {
			low, high = 0.001, 256
		}
		v.between(at+"resolution", d.Resolution, low, high)
		v.between(at+"minimum_size", d.MinimumSize, 0, high)
		v.between(at+"maximum_size", d.MaximumSize, 0, high)
		v.between(at+"target_size", d.TargetSize, 0, high)
		v.require(d.MaximumSize == 0 || d.TargetSize > 0, at+"target_size", "is missing; maximum_size needs the size to reduce to")
		v.require(d.Repeats >= 1 && d.Repeats <= 1_000_000, at+"repeats", "%d is outside 1 to 1000000", d.Repeats)
		v.require(d.BucketStep >= 0 && d.BucketStep <= 1024, at+"bucket_step", "%d is outside 0 to 1024", d.BucketStep)
		v.between(at+"max_upscale", d.MaxUpscale, 0, 1e6)
		v.selection(at, &d)
	}
}

func (v *validator) table(at string, d *Dataset) {
	if d.Table == nil {
		v.require(d.Captions != CaptionsTable, at+"table", "is missing; captions %q come from it", d.Captions)
		return
	}
	v.require(d.Table.Path != "", at+"table.path", "is empty; name a Parquet file")
	v.require(d.Table.FilenameColumn != "", at+"table.filename_column", "is empty; name the column that holds the names of pictures")
	v.require(d.Captions != CaptionsTable || len(d.Table.CaptionColumns) > 0, at+"table.caption_column", "is empty; name the column that holds captions")
}

func (v *validator) shuffle(at string, s *CaptionShuffle) {
	if s == nil {
		return
	}
	v.require(s.Count >= 1 && s.Count <= 1000, at+"count", "%d is outside 1 to 1000", s.Count)
	v.require(s.Keep >= 0, at+"position_start", "%d is negative", s.Keep)
	v.require(s.Seed <= 1<<53, at+"seed", "%d is above %d", s.Seed, uint64(1)<<53)
	v.oneOf(at+"split_on", s.SplitOn, SplitComma, SplitSpace, SplitPeriod)
}

// selection checks which pictures of a dataset are used, which part of them, and how often.
func (v *validator) selection(at string, d *Dataset) {
	const widest = 100 // times as wide as high, or the reverse
	v.require(d.MinimumAspect == 0 || d.MinimumAspect >= 1.0/widest && d.MinimumAspect <= widest, at+"minimum_aspect", "%v is outside %v to %v", d.MinimumAspect, 1.0/widest, widest)
	v.require(d.MaximumAspect == 0 || d.MaximumAspect >= 1.0/widest && d.MaximumAspect <= widest, at+"maximum_aspect", "%v is outside %v to %v", d.MaximumAspect, 1.0/widest, widest)
	v.require(d.MaximumAspect == 0 || d.MinimumAspect <= d.MaximumAspect, at+"minimum_aspect", "%v is above maximum_aspect %v", d.MinimumAspect, d.MaximumAspect)
	for _, aspect := range d.CropAspects {
		v.between(at+"crop_aspects", aspect, 1.0/widest, widest)
	}
	if len(d.CropAspects) > 0 {
		v.oneOf(at+"crop_aspect", d.CropAspect, AspectClosest, AspectRandom)
		v.require(!d.Square, at+"crop_aspects", "contradict square; set one of them")
	} else {
		v.require(d.CropAspect == "", at+"crop_aspects", "is empty; crop_aspect %q chooses from it", d.CropAspect)
	}
	v.require(d.BatchSize >= 0 && d.BatchSize <= maxBatch, at+"batch_size", "%d is outside 0 to %d", d.BatchSize, maxBatch)
	v.require(d.MaxSamples >= 0, at+"max_samples", "%d is negative; 0 uses all", d.MaxSamples)
	v.between(at+"probability", d.Probability, 0, 1e6)
	for _, filter := range d.CaptionFilters {
		_, err := ParseCaptionFilter(filter)
		v.require(err == nil, at+"caption_filters", "%v", err)
	}
}

func cmp(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

func (v *validator) save(s Save) {
	v.require(s.Every >= 0, "save.every", "%d is negative; 0 switches periodic checkpoints off", s.Every)
	v.require(s.EveryEpochs >= 0, "save.every_epochs", "%d is negative; 0 switches it off", s.EveryEpochs)
	v.require(s.Rolling >= 0, "save.rolling", "%d is negative; 0 switches rolling checkpoints off", s.Rolling)
	v.require(s.KeepRolling >= 0, "save.keep_rolling", "%d is negative; 0 keeps one", s.KeepRolling)
	v.require(s.Keep >= 0, "save.keep", "%d is negative; 0 keeps all", s.Keep)
	v.oneOf("save.dtype", s.DType, "fp32", "bf16", "fp16")
	v.oneOf("save.style", cmp(s.Style, StyleFolders), StyleFolders, StyleAIToolkit, StyleSimpleTuner)
}

func (v *validator) sampling(s Sampling) {
	v.require(s.Every >= 0, "sampling.every", "%d is negative; 0 switches periodic samples off", s.Every)
	v.require(s.EveryEpochs >= 0, "sampling.every_epochs", "%d is negative; 0 switches it off", s.EveryEpochs)
	v.oneOf("sampling.weights", cmp(s.Weights, SampleAveraged), SampleAveraged, SampleTrained, SampleBoth)
	v.require(s.Preview >= 0 && s.Preview <= 10000, "sampling.preview", "%d is outside 0 to 10000; 0 switches previews off", s.Preview)
	for i, p := range s.Prompts {
		at := fmt.Sprintf("sampling.prompts[%d].", i)
		v.require(p.Width >= 16 && p.Width <= 16384 && p.Width%8 == 0, at+"width", "%d is not a multiple of 8 from 16 to 16384", p.Width)
		v.require(p.Height >= 16 && p.Height <= 16384 && p.Height%8 == 0, at+"height", "%d is not a multiple of 8 from 16 to 16384", p.Height)
		v.require(p.Steps >= 1 && p.Steps <= 10000, at+"steps", "%d is outside 1 to 10000", p.Steps)
		v.between(at+"guidance", p.Guidance, 0, 1000)
		v.require(p.Count >= 0 && p.Count <= 64, at+"count", "%d is outside 0 to 64", p.Count)
		v.require(p.Name == "" || ValidName(p.Name), at+"name", "%q cannot be the name of a file", p.Name)
	}
}

func (v *validator) tracking(t *Tracking) {
	if t == nil {
		return
	}
	for _, form := range t.To {
		v.oneOf("tracking.to", form, TrackJSONL, TrackTensorBoard, TrackWandb)
	}
}

func (v *validator) script(field string, s *Script) {
	if s == nil {
		return
	}
	v.require(len(s.Command) > 0 && s.Command[0] != "", field+".command", "is empty; name a program")
	v.require(s.Timeout >= 0 && s.Timeout <= 7*24*3600, field+".timeout", "%d is outside 0 to %d seconds", s.Timeout, 7*24*3600)
}
