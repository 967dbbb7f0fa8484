package server

import (
	"math"
	"strings"
	"unicode"

	"github.com/stepd/stepd/sessions"
)

// progress tells how far a job has come.
type progress struct {
	Percent      float64        `json:"percent"`
	Step         int64          `json:"step"`
	TotalSteps   int64          `json:"total_steps"`
	Epoch        int64          `json:"epoch"` // from 1
	TotalEpochs  int64          `json:"total_epochs"`
	Loss         float64        `json:"loss"`
	LearningRate float64        `json:"learning_rate"`
	Metrics      map[string]any `json:"metrics"`
}

// progressOf describes a step of a session.
func progressOf(s *sessions.Session, now sessions.Snapshot, e sessions.StepEvent) progress {
	job, end := s.Job(), s.Job().End()
	batch := job.BatchSize * job.Accumulation()
	p := progress{Percent: percentOf(e.Step, end), Step: e.Step, TotalSteps: end, Loss: e.Loss, LearningRate: e.LR,
		Epoch: e.Epoch + 1, TotalEpochs: e.Epoch + 1,
		Metrics: map[string]any{"grad_norm": e.GradNorm, "seconds_per_step": e.Seconds, "step_speed_seconds": e.Seconds,
			"iteration_step_time_seconds": e.Seconds, "effective_batch_size": batch, "total_batch_size": batch}}
	if e.Seconds > 0 {
		p.Metrics["steps_per_second"], p.Metrics["samples_per_second"] = 1/e.Seconds, float64(batch)/e.Seconds
	}
	if now.LastEvaluation != nil {
		for name, loss := range now.LastEvaluation.Named() {
			p.Metrics[name] = loss
		}
	}
	if len(now.Epochs) > 0 {
		accumulation := int64(job.Accumulation())
		next := e.MicroBatch
		if next == 0 {
			next = e.Step * accumulation
		}
		p.Epoch = now.Epochs.At(next-1) + 1
		p.TotalEpochs = now.Epochs.At(next+(end-e.Step)*accumulation-1) + 1
	}
	return p
}

// flat are the metrics of a status event, which has loss, learning rate and epoch among them.
func (p progress) flat() map[string]any {
	all := map[string]any{"loss": p.Loss, "learning_rate": p.LearningRate, "epoch": p.Epoch}
	for name, value := range p.Metrics {
		all[name] = value
	}
	return all
}

// percentOf has two decimals, and reaches 100 at the end only.
func percentOf(done, total int64) float64 {
	if total <= 0 || done <= 0 {
		return 0
	}
	return math.Floor(float64(min(done, total))/float64(total)*1e4) / 100
}

// Values of stage.Status.
const (
	stageRunning   = "running"
	stageCompleted = "completed"
)

// stage is long work other than steps, as an entry of "startup_progress".
type stage struct {
	Key     string `json:"progress_type"`
	Label   string `json:"label"`
	Status  string `json:"status"`
	Percent int    `json:"percent"`
	Current int64  `json:"current"`
	Total   int64  `json:"total"`
}

// stageNames are SimpleTuner's keys of stages that it has too, and their labels.
var stageNames = map[string]struct{ key, label string }{
	"queued":        {"queued", "Waiting to run"},
	"recovering":    {"init_resume_checkpoint", "Looking for checkpoints"},
	"scan":          {"init_data_backend", "Scanning datasets"},
	"load":          {"init_load_base_model", "Loading base model"},
	"encode_text":   {"init_text_embed_cache", "Caching text embeds"},
	"encode_images": {"init_vae_cache", "Caching VAE latents"},
	"sample":        {"validation", "Running validation"},
	"evaluate":      {"evaluation", "Computing validation losses"},
	"save":          {"checkpoint_save", "Saving checkpoint"},
}

func describeStage(e sessions.StageEvent) stage {
	out := stage{Key: e.Stage, Label: titled(e.Stage), Status: stageRunning, Percent: int(percentOf(e.Done, e.Total)), Current: e.Done, Total: e.Total}
	if names, known := stageNames[e.Stage]; known {
		out.Key, out.Label = names.key, names.label
	}
	if e.Total > 0 && e.Done >= e.Total {
		out.Status = stageCompleted
	}
	return out
}

// titled makes a label of a stage's key.
func titled(key string) string {
	text := []rune(strings.ReplaceAll(key, "_", " "))
	if len(text) > 0 {
		text[0] = unicode.ToUpper(text[0])
	}
	return string(text)
}

// body is the stage inside an event.
func (s stage) body() map[string]any {
	return map[string]any{"key": s.Key, "label": s.Label, "status": s.Status,
		"percent": s.Percent, "current": s.Current, "total": s.Total,
		"progress": map[string]any{"label": s.Label, "current": s.Current, "total": s.Total, "percent": s.Percent}}
}
