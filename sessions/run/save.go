package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// stateDir is the part of a checkpoint that the engine saves and restores.
func stateDir(path string) string { return filepath.Join(path, "state") }

// save makes a durable checkpoint of this step, unless there is one, and then lets go of old ones.
func (r *run) save(ctx context.Context, reason string) error {
	if r.step == r.saved {
		return nil
	}
	next := r.step * int64(r.job.Accumulation())
	fingerprint, err := r.data.manifest.Fingerprint()
	if err != nil {
		return err
	}
	manifest := checkpoint.Manifest{Data: fingerprint, Step: r.step, Epoch: r.ready.EpochOf(r.step), Budget: r.control.budget(), MicroBatch: next,
		Reason: reason, Name: r.job.Name, Created: time.Now().UTC(), Build: r.engine.Info().Version,
		Published: publishedNames(r.job, r.step, reason)}
	info, err := r.commit(ctx, manifest)
	if err != nil {
		return err
	}
	if err := r.reporter.Checkpoint(ctx, info); err != nil {
		return fmt.Errorf("record checkpoint of step %d: %w", r.step, err)
	}
	r.saved = r.step
	r.reporter.Log(fmt.Sprintf("saved checkpoint of step %d to %s", r.step, info.Weights))
	removed, err := r.folder.Retain(r.job.Save.Keep)
	for _, old := range removed {
		r.reporter.Removed(old.Manifest.Step, old.Path, "retention")
	}
	if err != nil {
		// The new checkpoint is safe; what is left over is tried again after the next one.
		r.reporter.Warning(err.Error())
	}
	return nil
}

// commit waits for space on a full disk, unless the run has to end.
func (r *run) commit(ctx context.Context, manifest checkpoint.Manifest) (*checkpoint.Info, error) {
	ending, cancel := r.control.onEnd(ctx)
	defer cancel()
	for warned := false; ; warned = true {
		info, err := r.folder.Commit(manifest, r.jobJSON, func(dir string) (string, error) { return r.write(ctx, dir) })
		if err == nil || !isDiskFull(err) || ending.Err() != nil {
			return info, err
		}
		if !warned {
			r.reporter.Warning(fmt.Sprintf("the disk is full; training waits until there is space for the checkpoint of step %d: %v", r.step, err))
		}
		retry := time.NewTimer(r.request.DiskRetry)
		select {
		case <-retry.C:
		case <-ending.Done():
			retry.Stop()
			return nil, err
		}
	}
}

// isDiskFull also knows the errors of the native core, which come as text.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}

// write fills a checkpoint folder and returns the part that is for other programs.
func (r *run) write(ctx context.Context, dir string) (string, error) {
	if err := os.Mkdir(stateDir(dir), 0o755); err != nil {
		return "", err
	}
	if _, err := r.session.Save(ctx, stateDir(dir)); err != nil {
		return "", err
	}
	weights := "transformer"
	if r.job.Engine.Adapter != nil {
		weights = "pytorch_lora_weights.safetensors"
	}
	err := r.session.Export(ctx, engine.Export{Path: filepath.Join(dir, weights), Format: "diffusers", DType: r.job.Save.DType,
		EMA: r.job.Engine.EMA != nil, Metadata: r.metadata()})
	return weights, err
}

// metadata goes into exported files.
func (r *run) metadata() map[string]string {
	metadata := map[string]string{"format": "pt"}
	for key, value := range r.job.Metadata {
		metadata[key] = value
	}
	metadata["training_info"] = fmt.Sprintf(`{"step": %d, "epoch": %d}`, r.step, r.ready.EpochOf(r.step))
	return metadata
}

// publishedNames are the names of the weights in the run folder.
func publishedNames(j *job.Job, step int64, reason string) []string {
	if j.Save.Style != job.StyleAIToolkit {
		return nil
	}
	suffix := ".safetensors"
	if j.Engine.Adapter == nil {
		suffix = "/transformer"
	}
	names := []string{j.Name + checkpoint.StepSuffix(step) + suffix}
	if reason == "final" {
		names = append(names, j.Name+suffix)
	}
	return names
}
