package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/job"
)

// save makes a durable checkpoint of this step, or keeps the one that there is for a more important reason, and then lets
// go of old ones. Requests for a checkpoint made so far are answered by it.
func (r *run) save(ctx context.Context, reason string) error {
	r.control.answered(func(pending *requests) { pending.checkpoint = false })
	r.owed = false
	fresh := r.last == nil || r.last.Manifest.Step != r.step
	if fresh && r.step == r.ready.Step {
		return nil // nothing is trained yet
	}
	info, err := r.checkpoint(ctx, reason, fresh)
	if err != nil || info == nil {
		return err
	}
	r.last = info
	var incomplete error // the checkpoint counts even so
	if reason == "final" {
		if err := r.whenSpace(ctx, "pipeline", r.writePipeline); err != nil {
			incomplete = fmt.Errorf("write pipeline of step %d: %w", r.step, err)
		}
	}
	if err := r.reporter.Checkpoint(ctx, info); err != nil {
		return errors.Join(incomplete, fmt.Errorf("record checkpoint of step %d: %w", r.step, err))
	}
	r.steps = nil
	if fresh {
		r.reporter.Log(fmt.Sprintf("saved checkpoint of step %d to %s", r.step, info.Weights))
		r.scripts.saved(info.Path)
	}
	r.letGo()
	return incomplete
}

// letGo removes old checkpoints that nothing needs any more.
func (r *run) letGo() {
	removed, err := r.folder.Retain(r.retention())
	for _, old := range removed {
		r.reporter.Removed(old.Manifest.Step, old.Path, "retention")
	}
	if err != nil {
		// The new checkpoint is safe; what is left over is tried again after the next one.
		r.reporter.Warning(err.Error())
	}
}

// checkpoint returns the checkpoint of this step to be recorded; nil: it is recorded already.
func (r *run) checkpoint(ctx context.Context, reason string, fresh bool) (info *checkpoint.Info, err error) {
	if !fresh {
		return r.promote(ctx, reason)
	}
	fingerprint, err := r.data.manifest.Fingerprint()
	if err != nil {
		return nil, err
	}
	manifest := checkpoint.Manifest{Data: fingerprint, Step: r.step, Epoch: r.ready.EpochOf(r.step), Budget: r.budget(),
		MicroBatch: r.ready.BatchAt(r.step), Reason: reason, Name: r.job.Name, Created: time.Now().UTC(), Build: r.engine.Info().Version,
		EvaluationOwed: r.isCutShort(), Published: publishedNames(r.job, r.step, reason)}
	err = r.whenSpace(ctx, fmt.Sprintf("checkpoint of step %d", r.step), func() error {
		info, err = r.folder.Commit(manifest, r.jobJSON, func(dir string) (string, error) { return r.write(ctx, dir) })
		return err
	})
	return info, err
}

// importance orders the reasons for which one checkpoint may be kept: by what they promise about names and retention.
var importance = map[string]int{checkpoint.ReasonRolling: 1, "interval": 2, "manual": 3, "budget": 4, "final": 5}

// promote keeps the newest checkpoint, which is of this step, for a reason that promises more. What was asked for by hand
// is reported in any case.
func (r *run) promote(ctx context.Context, reason string) (info *checkpoint.Info, err error) {
	if importance[reason] <= importance[r.last.Manifest.Reason] {
		if reason == "manual" {
			return r.last, nil
		}
		return nil, nil
	}
	occasion := checkpoint.Occasion{Reason: reason, Budget: r.budget(), EvaluationOwed: r.isCutShort(),
		Published: publishedNames(r.job, r.step, reason)}
	err = r.whenSpace(ctx, fmt.Sprintf("checkpoint of step %d", r.step), func() error {
		info, err = r.folder.Retag(r.last, occasion)
		return err
	})
	return info, err
}

// budget is the number of steps that are allowed, as far as the job goes.
func (r *run) budget() int64 { return min(r.control.budget(), r.job.End()) }

// retention is what may be removed.
func (r *run) retention() checkpoint.Retention {
	return checkpoint.Retention{Keep: r.job.Save.Keep, KeepRolling: max(r.job.Save.KeepRolling, 1), InUse: r.scripts.uses}
}

// publishedNames are the names of the weights in the run folder.
func publishedNames(j *job.Job, step int64, reason string) []string {
	adapter := j.Engine.Adapter != nil
	switch {
	case j.Save.Style == job.StyleSimpleTuner && reason == "final" && adapter:
		return []string{adapterFile}
	case j.Save.Style == job.StyleSimpleTuner && reason == "final":
		return []string{pipelineDir + "/" + transformerDir}
	case j.Save.Style != job.StyleAIToolkit:
		return nil
	}
	suffix := ".safetensors"
	if !adapter {
		suffix = "/" + transformerDir
	}
	names := []string{j.Name + checkpoint.StepSuffix(step) + suffix}
	if reason == "final" {
		names = append(names, j.Name+suffix)
	}
	return names
}
