// Package engine is the seam between training runs and whatever executes them: package cgo (the native core) and
// engine/fake (a deterministic stand-in for tests) implement it. Everything here is a plain value that survives JSON, so
// that an engine may live in another process. Implementations are used by one goroutine at a time, except Cancel, which
// may be called from any goroutine at any moment.
package engine

import (
	"context"
	"fmt"
)

// Engine opens sessions and answers questions about models without training anything.
type Engine interface {
	// Info describes the build: version, instruction set, devices, families.
	Info() Info
	// Probe returns the size in pixels (after EXIF orientation) and the format of a picture without decoding it whole.
	Probe(path string) (Picture, error)
	// Plan computes memory and work of a configuration without allocating it. shapes lists the buckets of the data.
	Plan(ctx context.Context, config Config, shapes []Shape) (Plan, error)
	// InitModel writes random weights of a family in the layout of a diffusers folder.
	InitModel(request InitModel) error
	// Open loads the model. Step and progress events go to sink, from other goroutines, until Close returns.
	Open(ctx context.Context, config Config, sink Sink) (Session, error)
}

// Session is one loaded model with its trainable parameters and optimizer state.
type Session interface {
	// EncodeImages decodes, resizes, crops and encodes pictures to latent moments, one safetensors file each. It may be called
	// between two calls of Train, and SetSamples after it, where crops are drawn anew; it needs no memory beside what training does.
	EncodeImages(ctx context.Context, items []ImageItem) error
	// EncodeText encodes token ids to text embeddings, one safetensors file each.
	EncodeText(ctx context.Context, items []TextItem) error
	// SetSamples tells which cached files make up the data set; micro-batches refer to positions in this list.
	SetSamples(samples []Sample, empty TextFile) error
	// Train runs optimizer steps without returning between them and emits one StepEvent for each. It stops early, at the
	// end of a step, on Cancel (Result.Cancelled), and before applying a step whose loss or gradients are not finite (an
	// *Error of code Numeric; the step is not applied and the session stays usable). The updated weights are checked by
	// Save, not by every step.
	Train(ctx context.Context, steps []Step) (Result, error)
	// Evaluate returns the losses of pictures that are not trained on: for each batch one for each of its noise levels, the
	// noisiest first, each the mean over the pictures. It changes nothing that Save writes.
	Evaluate(ctx context.Context, batches []Evaluation) ([][]float64, error)
	// Sample writes one PNG per request.
	Sample(ctx context.Context, requests []SampleRequest) error
	// Save writes weights, optimizer state and EMA as they are at this step into dir, which exists and is empty, and
	// returns the files written, relative to dir. Files are synced to disk. A value that is not finite is an *Error of
	// code Numeric, and nothing is written.
	Save(ctx context.Context, dir string) ([]string, error)
	// Restore loads what Save wrote; training then continues bit for bit.
	Restore(ctx context.Context, dir string) error
	// Export writes the trained weights for other programs: a diffusers transformer folder (full) or a LoRA file.
	Export(ctx context.Context, request Export) error
	// Step is the number of optimizer steps applied so far.
	Step() int64
	// Cancel asks a running Train, Encode, Evaluate or Sample to stop at the next safe point. Idempotent.
	Cancel()
	// Close frees everything. Idempotent; not concurrent with other calls except Cancel.
	Close() error
}

// Sink receives events. Calls must return quickly and must not call back into the session.
type Sink interface {
	OnStep(StepEvent)
	OnProgress(ProgressEvent)
	OnPreview(PreviewEvent)
}

// Info describes an engine.
type Info struct {
	Name           string   `json:"name"`            // "native", "fake"
	Version        string   `json:"version"`         // of the core
	InstructionSet string   `json:"instruction_set"` // "avx2", "avx512", "amx"
	Threads        int      `json:"threads"`
	Families       []string `json:"families"` // "pixart"
	Devices        []string `json:"devices"`  // "cpu"
}

// Picture is what Probe knows.
type Picture struct {
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Format string `json:"format"` // "jpeg", "png", "webp"
}

// Shape is one bucket: the size of the latents, the number of text tokens and the micro-batch.
type Shape struct {
	Width      int `json:"width"`  // pixels
	Height     int `json:"height"` // pixels
	TextTokens int `json:"text_tokens"`
	Batch      int `json:"batch"`
	// Evaluation marks a bucket whose loss is computed without training on it.
	Evaluation bool `json:"evaluation,omitempty"`
}

// Config is everything that decides what a session computes.
type Config struct {
	Family string `json:"family,omitempty"` // empty: detected from the folder
	Model  string `json:"model"`            // diffusers folder, absolute
	Device string `json:"device"`           // "cpu"
	Seed   uint64 `json:"seed"`
	// DType is the dtype of activations: "fp32" or "bf16". WeightDType is how trained weights are stored: "fp32" (master
	// weights when DType is bf16) or "bf16".
	DType       string `json:"dtype"`
	WeightDType string `json:"weight_dtype"`
	// Adapter is nil for a full fine-tune.
	Adapter   *Adapter  `json:"adapter,omitempty"`
	Loss      Loss      `json:"loss"`
	Noise     Noise     `json:"noise"`
	Optimizer Optimizer `json:"optimizer"`
	Schedule  Schedule  `json:"schedule"`
	Clip      Clip      `json:"clip"`
	EMA       *EMA      `json:"ema,omitempty"`
	// Accumulation is the number of micro-batches of one optimizer step. Gradients are the mean of their means, or the sum when AccumulateSum.
	Accumulation  int  `json:"accumulation"`
	AccumulateSum bool `json:"accumulate_sum"`
	// CaptionDropout is the probability of replacing a caption by the empty one.
	CaptionDropout float64 `json:"caption_dropout"`
	// TextTokens is the length to which text embeddings are padded.
	TextTokens int `json:"text_tokens"`
	// GradientCheckpointing asks for the smallest sensible activation memory; otherwise activations are kept while they
	// fit MemoryBudget (bytes for everything; 0: the memory available to this process).
	GradientCheckpointing bool  `json:"gradient_checkpointing"`
	MemoryBudget          int64 `json:"memory_budget"`
	// SampleOnly loads the model for pictures alone: nothing is trainable, and no optimizer is made.
	SampleOnly bool `json:"sample_only,omitempty"`
}

// Adapter trains a small set of factors beside frozen weights.
type Adapter struct {
	Type    string   `json:"type"` // "lora"
	Rank    int      `json:"rank"`
	Alpha   float64  `json:"alpha"`
	Dropout float64  `json:"dropout"`
	Targets []string `json:"targets"`        // module suffixes; empty: the family's default
	Init    string   `json:"init,omitempty"` // LoRA file to start from
}

// Loss selects what the prediction is compared with, and how.
type Loss struct {
	// Prediction is "epsilon", "v_prediction", "sample" or "flow"; empty: the folder's scheduler decides.
	Prediction string  `json:"prediction,omitempty"`
	Type       string  `json:"type"` // "l2", "huber", "smooth_l1"
	HuberC     float64 `json:"huber_c"`
	// HuberSchedule is "constant", "exponential" or "snr".
	HuberSchedule string `json:"huber_schedule"`
	// SNRGamma weights by min-SNR; 0: off.
	SNRGamma float64 `json:"snr_gamma"`
}

// Noise says how timesteps and latents are drawn (specs: the random-number contract in docs/determinism.md).
type Noise struct {
	SampleLatents bool    `json:"sample_latents"` // draw from the encoder's moments; false: use the mean
	Timesteps     string  `json:"timesteps"`      // "uniform" (discrete), "sigmoid" (flow)
	SigmoidScale  float64 `json:"sigmoid_scale"`  // flow: sigma = sigmoid(scale*u); 0 means 1
	Shift         float64 `json:"shift"`          // flow: s*sigma/(1+(s-1)*sigma); 0 means 1
	// Stratified draws one u per equal slice of probability, so that a batch covers the whole range.
	Stratified bool    `json:"stratified"`
	Offset     float64 `json:"offset"` // noise += offset*randn[B,C,1,1]; 0: off
	// OffsetProbability is the share of micro-batches that have the offset; 0 means 1.
	OffsetProbability float64 `json:"offset_probability,omitempty"`
}

// Optimizer names an optimizer of the core and its settings; absent settings take that optimizer's defaults.
type Optimizer struct {
	Name   string             `json:"name"` // "adamw", "adamw_bf16"
	LR     float64            `json:"lr"`
	Params map[string]float64 `json:"params,omitempty"` // beta1, beta2, eps, weight_decay
}

// Schedule is the learning-rate multiplier over optimizer steps, as diffusers computes it.
type Schedule struct {
	Name   string  `json:"name"` // "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
	Warmup int64   `json:"warmup"`
	Steps  int64   `json:"steps"`
	Cycles float64 `json:"cycles"` // 0: the schedule's default
	Power  float64 `json:"power"`  // 0: the schedule's default
	LREnd  float64 `json:"lr_end"` // where the cosines and polynomial end; 0 as in diffusers
}

// Clip bounds gradients before the optimizer sees them; 0: off.
type Clip struct {
	Norm  float64 `json:"norm"`
	Value float64 `json:"value"`
}

// EMA keeps a moving average of the trained weights in fp32.
type EMA struct {
	Decay    float64 `json:"decay"`
	Constant bool    `json:"constant,omitempty"` // the decay is used as it is from the first step
	Warmup   bool    `json:"warmup"`             // 1-(1+k/inv_gamma)^-power instead of (1+k)/(10+k)
	InvGamma float64 `json:"inv_gamma"`
	Power    float64 `json:"power"`
}

// ImageItem is one picture to encode.
type ImageItem struct {
	Path         string `json:"path"`
	ResizeWidth  int    `json:"resize_width"`
	ResizeHeight int    `json:"resize_height"`
	CropX        int    `json:"crop_x"`
	CropY        int    `json:"crop_y"`
	Width        int    `json:"width"`  // of the crop
	Height       int    `json:"height"` // of the crop
	FlipX        bool   `json:"flip_x"`
	FlipY        bool   `json:"flip_y"`
	Out          string `json:"out"` // safetensors: mean, logvar [C,h,w] f32
}

// TextItem is one caption to encode.
type TextItem struct {
	IDs []int32 `json:"ids"` // with the end token, without padding
	Out string  `json:"out"` // safetensors: embedding [length, width]
}

// TextFile is an encoded caption.
type TextFile struct {
	Path string `json:"path"`
}

// Sample is one element of the data set.
type Sample struct {
	Latents string `json:"latents"` // file written by EncodeImages
	Text    string `json:"text"`    // file written by EncodeText
}

// Step is one optimizer step: its micro-batches, in order.
type Step struct {
	Batches []Batch `json:"batches"`
}

// Batch is one micro-batch: its global index (which seeds its random numbers) and positions in the list of samples, all of one bucket.
type Batch struct {
	Index   int64 `json:"index"`
	Samples []int `json:"samples"`
}

// Evaluation is one micro-batch whose loss is computed without training on it, at fixed noise levels and with fixed noise.
type Evaluation struct {
	Samples []Sample `json:"samples"` // of one bucket
	// First is the number of the first sample in its dataset, and Seed that of the evaluation: they decide the noise.
	First int    `json:"first"`
	Seed  uint64 `json:"seed"`
	// Timesteps is the number of noise levels, spread evenly over the schedule.
	Timesteps int `json:"timesteps"`
}

// Result tells how a Train call ended.
type Result struct {
	Steps     int64 `json:"steps"` // applied by this call
	Cancelled bool  `json:"cancelled"`
}

// StepEvent reports one applied optimizer step.
type StepEvent struct {
	Step     int64   `json:"step"` // 1 for the first
	Loss     float64 `json:"loss"` // mean over the micro-batches
	LR       float64 `json:"lr"`
	GradNorm float64 `json:"grad_norm"` // before clipping
	Seconds  float64 `json:"seconds"`
}

// ProgressEvent reports long work other than steps.
type ProgressEvent struct {
	Stage string `json:"stage"` // "load", "encode_images", "encode_text", "evaluate", "sample", "save", "init"
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
}

// SampleRequest asks for one picture.
type SampleRequest struct {
	IDs         []int32 `json:"ids"`          // prompt tokens with the end token
	NegativeIDs []int32 `json:"negative_ids"` // ditto
	Width       int     `json:"width"`
	Height      int     `json:"height"`
	Steps       int     `json:"steps"`
	Guidance    float64 `json:"guidance"`
	Seed        uint64  `json:"seed"`
	Sampler     string  `json:"sampler,omitempty"` // "dpmpp_2m", "ddim", "euler", "flow_euler"; empty: the folder's scheduler
	EMA         bool    `json:"ema"`               // use the averaged weights
	// BatchIndex of BatchSize: take this row of the noise of a whole batch, as a pipeline called with several prompts does.
	BatchIndex int `json:"batch_index,omitempty"`
	BatchSize  int `json:"batch_size,omitempty"`
	// Preview also writes pictures of unfinished steps; nil: none.
	Preview *Preview `json:"preview,omitempty"`
	Out     string   `json:"out"` // PNG
}

// Preview asks for small pictures while one is being sampled, made by a tiny decoder or a linear fit of the latents.
type Preview struct {
	// Every is the number of sampling steps between previews, at least 1: step 1, then every Every-th after it, and the last.
	Every int `json:"every"`
	// Out is the PNG; "{step}" in it stands for the sampling step.
	Out string `json:"out"`
}

// PreviewPlaceholder stands for the sampling step in Preview.Out.
const PreviewPlaceholder = "{step}"

// At tells whether there is a preview of a sampling step, counted from 1.
func (p *Preview) At(step, steps int) bool {
	return p != nil && (step == steps || (step-1)%max(p.Every, 1) == 0)
}

// PreviewEvent reports that a preview is written, or why there are no more in this call of Sample: a preview that cannot be
// made is reported once and costs no picture.
type PreviewEvent struct {
	Request  int     `json:"request"` // position in the list given to Sample
	Step     int     `json:"step"`    // of sampling, from 1
	Steps    int     `json:"steps"`
	Timestep float64 `json:"timestep"`        // of the model at this step, 0 to 1000
	Path     string  `json:"path"`            // empty when Error is not
	Error    string  `json:"error,omitempty"` // why previews end
}

// Export asks for weights that other programs read.
type Export struct {
	Path     string            `json:"path"`   // folder for a full model, file for an adapter
	Format   string            `json:"format"` // "diffusers"
	DType    string            `json:"dtype"`  // "fp32", "bf16", "fp16"
	EMA      bool              `json:"ema"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// InitModel asks for random weights.
type InitModel struct {
	Family    string `json:"family"`
	Component string `json:"component,omitempty"` // "transformer" (also when empty), "text_encoder", "vae"
	Config    string `json:"config"`              // config.json of the component
	Seed      uint64 `json:"seed"`
	Out       string `json:"out"` // folder that receives config.json and weights
	DType     string `json:"dtype"`
}

// Bytes is an amount of memory; it prints as "1.50 GiB".
type Bytes int64

func (b Bytes) String() string { return fmt.Sprintf("%.2f GiB", float64(b)/(1<<30)) }

// Plan is what a configuration needs, in bytes, and does, per optimizer step.
type Plan struct {
	Weights     int64   `json:"weights"`
	Gradients   int64   `json:"gradients"`
	Optimizer   int64   `json:"optimizer"`
	EMA         int64   `json:"ema"`
	Activations int64   `json:"activations"`
	Encoders    int64   `json:"encoders"` // text encoder and VAE while caches are filled
	Workspace   int64   `json:"workspace"`
	Total       int64   `json:"total"` // peak
	Available   int64   `json:"available"`
	FLOP        float64 `json:"flop"` // per optimizer step
	Seconds     float64 `json:"seconds"`
	Recomputed  int     `json:"recomputed"` // nodes computed twice
	Trainable   int64   `json:"trainable"`  // parameters
	Parameters  int64   `json:"parameters"`
	Fits        bool    `json:"fits"`
}
