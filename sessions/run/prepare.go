package run

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// openFolder makes the run folder this run's own.
func (r *run) openFolder(ctx context.Context) (unlock func(), err error) {
	if r.jobJSON, err = json.MarshalIndent(r.job, "", "  "); err != nil {
		return nil, fmt.Errorf("write job as JSON: %w", err)
	}
	fsys := r.request.FS
	if fsys == nil {
		fsys = checkpoint.OS{}
	}
	if r.folder, err = checkpoint.Open(r.job.RunDir(), fsys); err != nil {
		return nil, err
	}
	ctx, cancel := r.control.onEnd(ctx)
	defer cancel()
	busy := func() {
		r.reporter.Warning(fmt.Sprintf("run folder %s is in use by another process; the run waits until that has ended", r.job.RunDir()))
	}
	if unlock, err = checkpoint.Lock(ctx, r.job.RunDir(), busy); err != nil {
		return nil, err
	}
	if err := r.folder.Clean(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// plan refuses what does not fit, and waits until what does fit may be used.
func (r *run) plan(ctx context.Context) error {
	plan, err := r.planMemory(ctx)
	if err != nil {
		return err
	}
	if err := r.reporter.Admit(ctx, plan); err != nil || plan.Fits {
		return err
	}
	// What was missing may have been in use by sessions that have ended since.
	if plan, err = r.planMemory(ctx); err != nil {
		return err
	}
	if !plan.Fits {
		remedy := "lower the resolution, batch size or adapter rank, or train an adapter with frozen weights in bf16"
		if len(r.data.evaluated) > 0 {
			remedy += "; the datasets that are evaluated count as well"
		}
		return engine.Errorf(engine.OutOfMemory, "the run needs %s but %s are available (weights %s, gradients %s, optimizer %s, "+
			"activations %s, encoders %s); %s",
			engine.Bytes(plan.Total), engine.Bytes(plan.Available), engine.Bytes(plan.Weights), engine.Bytes(plan.Gradients), engine.Bytes(plan.Optimizer),
			engine.Bytes(plan.Activations), engine.Bytes(plan.Encoders), remedy)
	}
	return nil
}

// resume restores the checkpoint that the job asks for, if there is one.
func (r *run) resume(ctx context.Context) error {
	info, err := r.findCheckpoint()
	if err != nil {
		return err
	}
	r.ready = Ready{Accumulation: int64(r.job.Accumulation()), Resumed: info}
	if info != nil {
		r.ready.Step, r.ready.FirstBatch = info.Manifest.Step, info.Manifest.MicroBatch
		if r.data.plan, err = dataset.ContinueJob(r.job, r.data.manifest.Samples, r.ready.Step, r.ready.FirstBatch); err != nil {
			return err
		}
		if err := r.session.Restore(ctx, stateDir(info.Path)); err != nil {
			return fmt.Errorf("resume from %s: %w", info.Path, err)
		}
		if got := r.session.Step(); got != info.Manifest.Step {
			return fmt.Errorf("resume from %s: its state is of step %d", info.Path, got)
		}
		if r.ready.Changed, err = changedFields(info, r.jobJSON); err != nil {
			return err
		}
		if fingerprint, err := r.data.manifest.Fingerprint(); err != nil {
			return err
		} else if info.Manifest.Data != fingerprint {
			r.ready.Changed = append(r.ready.Changed, "data")
		}
		if len(r.ready.Changed) > 0 {
			r.reporter.Warning("the run does not continue exactly: since the checkpoint these have changed: " + strings.Join(r.ready.Changed, ", "))
		}
	}
	if r.ready.Kept, err = r.folder.List(); err != nil {
		return err
	}
	r.ready.Epochs = r.data.plan.Epochs()
	r.step, r.last = r.ready.Step, info
	r.ready.Epoch = r.ready.EpochOf(r.step)
	return nil
}

func (r *run) findCheckpoint() (*checkpoint.Info, error) {
	limit := int64(-1)
	switch r.job.Resume {
	case "", job.ResumeLatest:
	case job.ResumeNone:
		empty, err := r.folder.Empty()
		if err == nil && !empty {
			err = engine.Errorf(engine.Invalid, "%s holds checkpoints, but the job starts from the beginning; resume from the latest, or choose another name or output folder",
				r.folder.Dir())
		}
		return nil, err
	default:
		step, ok := checkpoint.ParseName(r.job.Resume)
		if !ok {
			return nil, engine.Errorf(engine.Invalid, "resume: %q is not the name of a checkpoint folder", r.job.Resume)
		}
		limit = step
	}
	info, err := r.folder.Latest(limit, func(path string, reason error) {
		r.reporter.Warning(fmt.Sprintf("checkpoint %s is not used: %v", path, reason))
		r.reporter.Removed(-1, path, reason.Error())
	})
	if err == nil && limit >= 0 && (info == nil || info.Manifest.Step != limit) {
		return nil, engine.Errorf(engine.NotFound, "resume: %s has no usable checkpoint of step %d; name one that is there, or \"latest\"", r.folder.Dir(), limit)
	}
	return info, err
}

// besides matches the fields of a job that do not change what is trained.
var besides = regexp.MustCompile(`^(warnings|tracking|metadata|sampling|evaluation|scripts|save|resume|output|log_every|max_steps)\b`)

// changedFields compares the checkpoint's job with the present one. What cannot change the run is left out.
func changedFields(info *checkpoint.Info, now []byte) ([]string, error) {
	before, err := info.Job()
	if err != nil {
		return nil, fmt.Errorf("read job of %s: %w", info.Path, err)
	}
	old, err := flatten(before)
	if err != nil {
		return nil, fmt.Errorf("read job of %s: %w", info.Path, err)
	}
	current, err := flatten(now)
	if err != nil {
		return nil, err
	}
	fields := map[string]bool{}
	for field, value := range old {
		fields[field] = current[field] != value
	}
	for field, value := range current {
		fields[field] = old[field] != value
	}
	var changed []string
	for field, differs := range fields {
		if differs && !besides.MatchString(field) {
			changed = append(changed, field)
		}
	}
	sort.Strings(changed)
	return changed, nil
}

// flatten turns JSON into one entry per leaf, by path.
func flatten(data []byte) (map[string]string, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a float64 would make neighbouring seeds above 2^53 one
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	leaves := map[string]string{}
	var visit func(path string, value any)
	visit = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for name, child := range value {
				visit(strings.TrimPrefix(path+"."+name, "."), child)
			}
		case []any:
			for i, child := range value {
				visit(fmt.Sprintf("%s[%d]", path, i), child)
			}
		default:
			leaves[path] = fmt.Sprint(value)
		}
	}
	visit("", value)
	return leaves, nil
}
