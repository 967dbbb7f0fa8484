package job

// Kind is the type of an option's value.
type Kind string

// The kinds of options.
const (
	Bool   Kind = "boolean"
	Int    Kind = "integer"
	Float  Kind = "number"
	Text   Kind = "string"
	Texts  Kind = "list of strings"
	Object Kind = "object"
)

// Spelling is how one dialect writes an option.
type Spelling struct {
	// Name is the dotted path in that dialect's configuration.
	Name string
	// Default applies when the option is absent; nil leaves the Job's zero value.
	Default any
}

// Option declares one setting of a Job: where it lives, what it may be, and how each dialect spells it. Dialects read and
// validate these options from the table alone.
type Option struct {
	// Path is the JSON path in the Job, or in each Dataset when it starts with "datasets[].".
	Path    string
	Kind    Kind
	Unit    string // "steps", "pixels", …; empty for pure numbers and names
	Min     float64
	Max     float64 // numbers only; Min == Max == 0: unbounded here, Job.Validate decides
	Choices []string
	Doc     string

	AIToolkit   Spelling
	SimpleTuner Spelling
}

// Options lists every setting that a dialect translates one to one. What needs more than a copy (lists of resolutions,
// prompts with flags, names of optimizers) is translated in the dialect's own package.
var Options = []Option{
	{Path: "engine.seed", Kind: Int, Max: 1 << 53, Doc: "seed of every random number of the run", AIToolkit: Spelling{"training_seed", 42}},
	{Path: "steps", Kind: Int, Unit: "steps", Min: 1, Max: 1 << 40, Doc: "length of the training; the learning-rate schedule is planned for it", AIToolkit: Spelling{"train.steps", 1000}},
	{Path: "batch_size", Kind: Int, Min: 1, Max: 4096, Doc: "samples of one micro-batch", AIToolkit: Spelling{"train.batch_size", 1}, SimpleTuner: Spelling{"train_batch_size", 4}},
	{Path: "engine.accumulation", Kind: Int, Min: 1, Max: 1 << 20, Doc: "micro-batches of one step", AIToolkit: Spelling{"train.gradient_accumulation", 1}, SimpleTuner: Spelling{"gradient_accumulation_steps", 1}},
	{Path: "engine.gradient_checkpointing", Kind: Bool, Doc: "recompute activations instead of keeping them; otherwise as many are kept as fit into memory", AIToolkit: Spelling{"train.gradient_checkpointing", nil}, SimpleTuner: Spelling{"gradient_checkpointing", nil}},
	{Path: "engine.optimizer.lr", Kind: Float, Max: 1e6, Doc: "learning rate", AIToolkit: Spelling{"train.lr", 1e-6}, SimpleTuner: Spelling{"learning_rate", 4e-7}},
	{Path: "engine.clip.norm", Kind: Float, Max: 1e30, Doc: "largest norm of all gradients together; 0 switches clipping off", AIToolkit: Spelling{"train.max_grad_norm", 1.0}},
	{Path: "engine.noise.offset", Kind: Float, Min: -10, Max: 10, Doc: "adds this much of one normal number per channel to the noise", AIToolkit: Spelling{"train.noise_offset", 0.0}},
	{Path: "engine.noise.stratified", Kind: Bool, Doc: "spread the timesteps of a batch evenly over their distribution", AIToolkit: Spelling{"train.timestep_stratified", false}},
	{Path: "save.every", Kind: Int, Unit: "steps", Max: 1 << 40, Doc: "steps between checkpoints", AIToolkit: Spelling{"save.save_every", 1000}, SimpleTuner: Spelling{"checkpoint_step_interval", 500}},
	{Path: "save.keep", Kind: Int, Max: 1 << 20, Doc: "number of newest checkpoints kept; 0 keeps all", AIToolkit: Spelling{"save.max_step_saves_to_keep", 5}, SimpleTuner: Spelling{"checkpoints_total_limit", 5}},
	{Path: "save.every_epochs", Kind: Int, Unit: "epochs", Max: 1 << 20, Doc: "epochs between checkpoints, besides those by steps; 0: none", SimpleTuner: Spelling{"checkpoint_epoch_interval", nil}},
	{Path: "save.rolling", Kind: Int, Unit: "steps", Max: 1 << 40, Doc: "steps between rolling checkpoints, which are counted apart; 0: none", SimpleTuner: Spelling{"checkpointing_rolling_steps", 0}},
	{Path: "save.keep_rolling", Kind: Int, Max: 1 << 20, Doc: "number of newest rolling checkpoints kept", SimpleTuner: Spelling{"checkpoints_rolling_total_limit", 1}},
	{Path: "skip_bad_images", Kind: Bool, Doc: "train without the pictures that cannot be read, instead of refusing to start", AIToolkit: Spelling{"train.skip_bad_images", false}, SimpleTuner: Spelling{"delete_problematic_images", false}},
	{Path: "log_every", Kind: Int, Unit: "steps", Max: 1 << 40, Doc: "steps between log lines", AIToolkit: Spelling{"logging.log_every", 1}},
	{Path: "sampling.every", Kind: Int, Unit: "steps", Max: 1 << 40, Doc: "steps between validation pictures", AIToolkit: Spelling{"sample.sample_every", 100}, SimpleTuner: Spelling{"validation_step_interval", 100}},
	{Path: "sampling.every_epochs", Kind: Int, Unit: "epochs", Max: 1 << 20, Doc: "epochs between validation pictures, besides those by steps; 0: none", SimpleTuner: Spelling{"validation_epoch_interval", nil}},
	{Path: "engine.schedule.warmup", Kind: Int, Unit: "steps", Max: 1 << 40, Doc: "steps over which the learning rate rises from zero", SimpleTuner: Spelling{"lr_warmup_steps", 0}},
	{Path: "engine.schedule.power", Kind: Float, Max: 100, Doc: "exponent of the polynomial decay", SimpleTuner: Spelling{"lr_power", 0.8}},
	{Path: "engine.schedule.lr_end", Kind: Float, Max: 1e6, Doc: "learning rate at the end of a cosine or polynomial decay", SimpleTuner: Spelling{"lr_end", 4e-7}},
	{Path: "engine.loss.type", Kind: Text, Choices: []string{"l2", "huber", "smooth_l1"}, Doc: "how the error is measured", SimpleTuner: Spelling{"loss_type", "l2"}},
	{Path: "engine.loss.huber_c", Kind: Float, Max: 1, Doc: "where huber and smooth_l1 turn from square to straight", SimpleTuner: Spelling{"huber_c", 0.1}},
	{Path: "engine.loss.huber_schedule", Kind: Text, Choices: []string{"snr", "exponential", "constant"}, Doc: "how huber_c depends on the timestep", SimpleTuner: Spelling{"huber_schedule", "snr"}},
	{Path: "engine.loss.snr_gamma", Kind: Float, Max: 1e6, Doc: "weights the loss by min(SNR, gamma)/SNR; 0 switches it off", SimpleTuner: Spelling{"snr_gamma", nil}},
	{Path: "engine.loss.prediction", Kind: Text, Choices: []string{"epsilon", "v_prediction", "sample"}, Doc: "what the model predicts; left out: as the model folder says", SimpleTuner: Spelling{"prediction_type", nil}},
	{Path: "engine.caption_dropout", Kind: Float, Max: 1, Doc: "chance that a sample is trained with the empty caption", SimpleTuner: Spelling{"caption_dropout_probability", 0.1}},

	{Path: "datasets[].caption_extension", Kind: Text, Doc: "extension of caption files", AIToolkit: Spelling{"caption_ext", ".txt"}},
	{Path: "datasets[].default_caption", Kind: Text, Doc: "caption of pictures without one", AIToolkit: Spelling{"default_caption", nil}},
	{Path: "datasets[].repeats", Kind: Int, Min: 1, Max: 1_000_000, Doc: "how often each picture counts in an epoch", AIToolkit: Spelling{"num_repeats", 1}},
	{Path: "datasets[].square", Kind: Bool, Doc: "crop to squares instead of aspect buckets", AIToolkit: Spelling{"square_crop", false}},
	{Path: "datasets[].flip_x", Kind: Bool, Doc: "add copies mirrored left to right", AIToolkit: Spelling{"flip_x", false}},
	{Path: "datasets[].minimum_aspect", Kind: Float, Min: 0, Max: 100, Doc: "leaves out pictures whose width/height is below", SimpleTuner: Spelling{"minimum_aspect_ratio", nil}},
	{Path: "datasets[].maximum_aspect", Kind: Float, Min: 0, Max: 100, Doc: "leaves out pictures whose width/height is above", SimpleTuner: Spelling{"maximum_aspect_ratio", nil}},
	{Path: "datasets[].max_samples", Kind: Int, Min: 0, Max: 1 << 40, Doc: "largest number of pictures used, drawn evenly from those that pass the filters; 0 uses all", SimpleTuner: Spelling{"max_num_samples", nil}},
	{Path: "datasets[].probability", Kind: Float, Min: 1e-6, Max: 1e6, Doc: "weight of the dataset against others", SimpleTuner: Spelling{"probability", nil}},
	{Path: "datasets[].flip_y", Kind: Bool, Doc: "add copies mirrored top to bottom", AIToolkit: Spelling{"flip_y", false}},
}
