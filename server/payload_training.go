package server

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

// encodeStep is the training.status that SimpleTuner sends after every optimizer step.
func encodeStep(s *sessions.Session, e sessions.StepEvent) Payload {
	p := progressOf(s, s.Snapshot(), e)
	return Payload{Type: typeStatus, Severity: severityInfo, Title: "Running",
		Message: fmt.Sprintf("Step %d of %d: loss %.4f, lr %.4g, epoch %d/%d", e.Step, p.TotalSteps, e.Loss, e.LR, p.Epoch, p.TotalEpochs),
		Body: map[string]any{
			"data": map[string]any{"status": "running", "global_step": e.Step, "current_epoch": p.Epoch, "final_epoch": p.TotalEpochs,
				"total_num_steps": p.TotalSteps, "lr": e.LR},
			"progress": map[string]any{"label": "Training", "current": e.Step, "total": p.TotalSteps, "percent": p.Percent,
				"eta_seconds": math.Round(float64(p.TotalSteps-e.Step) * e.Seconds), "metrics": p.flat()},
		}}
}

// encodeBudget is the last training.status of a job whose steps are all trained and in a checkpoint.
func encodeBudget(s *sessions.Session, e sessions.BudgetEvent) Payload {
	end := s.Job().End()
	if e.Step < end {
		return Payload{Type: typeNotification, Severity: severityDebug, Title: "Steps trained", Message: fmt.Sprintf("Trained up to step %d of %d", e.Step, end)}
	}
	return Payload{Type: typeStatus, Severity: severityInfo, Title: "Completed", Message: fmt.Sprintf("Training completed at step %d", e.Step),
		Body: map[string]any{
			"data":     map[string]any{"status": "completed", "global_step": e.Step, "total_num_steps": end},
			"progress": map[string]any{"label": "Training", "current": e.Step, "total": end, "percent": 100.0, "eta_seconds": 0, "metrics": map[string]any{}},
		}}
}

func encodeCheckpoint(s *sessions.Session, e sessions.Checkpoint) Payload {
	label := fmt.Sprintf("Checkpoint: `Step %d of %d`", e.Step, s.Job().End())
	if e.Reason == "manual" {
		label = fmt.Sprintf("Checkpoint: `Manual checkpoint requested. Step %d of %d`", e.Step, s.Job().End())
	}
	return Payload{Type: typeCheckpoint, Severity: severityInfo, Title: label, Message: label, Body: map[string]any{
		"checkpoint": map[string]any{"path": e.Path, "label": label, "is_final": e.Reason == "final", "step": e.Step, "reason": e.Reason},
	}}
}

func encodeCheckpointRemoved(_ *sessions.Session, e sessions.CheckpointRemovedEvent) Payload {
	return Payload{Type: typeNotification, Severity: severityDebug, Title: "Checkpoint removed",
		Message: fmt.Sprintf("Checkpoint %s was removed: %s", filepath.Base(e.Path), e.Reason), Body: map[string]any{"data": e}}
}

func encodeSample(_ *sessions.Session, e sessions.SampleEvent) Payload {
	label := "Validation: " + shortName(e.Name, e.Index)
	return Payload{Type: typeValidation, Severity: severityInfo, Title: label, Message: label, Body: map[string]any{
		"body": e.Prompt, "images": pictures(e.Path),
		"data": map[string]any{"global_step": e.Step, "resolution": []int{e.Width, e.Height}, "validation_type": "final", "prompt": e.Prompt,
			"seed": e.Seed, "path": e.Path},
	}}
}

// encodeEvaluation has the losses as a list and, for charts, as metrics.
func encodeEvaluation(_ *sessions.Session, e sessions.EvaluationEvent) Payload {
	var parts []string
	for _, one := range e.Losses {
		parts = append(parts, fmt.Sprintf("%s %.4f", one.Dataset, one.Loss))
	}
	data := map[string]any{"global_step": e.Step, "losses": e.Losses, "metrics": e.Named(), "seconds": e.Seconds}
	if e.Pooled != nil {
		parts = append(parts, fmt.Sprintf("%s %.4f", job.PooledLoss, *e.Pooled))
		data["pooled"] = *e.Pooled
	}
	return Payload{Type: typeMetric, Severity: severityInfo, Title: "Evaluation",
		Message: fmt.Sprintf("Validation loss at step %d: %s", e.Step, strings.Join(parts, ", ")), Body: map[string]any{"data": data}}
}

// encodePreview is the picture of an unfinished validation.
func encodePreview(_ *sessions.Session, e sessions.PreviewEvent) Payload {
	step := fmt.Sprintf("%d/%d", e.SamplingStep, e.SamplingSteps)
	label := fmt.Sprintf("Validation (step %s): %s", step, shortName(e.Name, e.Index))
	return Payload{Type: typePreview, Severity: severityInfo, Title: label, Message: label, Body: map[string]any{
		"body": e.Prompt, "images": pictures(e.Path),
		"data": map[string]any{"step": e.SamplingStep, "timestep": e.Timestep, "resolution": []int{e.Width, e.Height},
			"validation_type": "intermediary", "prompt": e.Prompt, "step_label": step, "global_step": e.Step},
	}}
}

func shortName(name string, index int) string {
	if name == "" {
		return fmt.Sprintf("prompt %d", index+1)
	}
	return name
}
