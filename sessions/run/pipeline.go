package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// linkFrom is the size from which files of the model are linked into the pipeline instead of copied: what people edit by
// hand is small, and must not be the model's own file.
const linkFrom = 1 << 20

// part is a file of the model to be copied, or a folder to be made.
type part struct {
	from, to string
	folder   bool
	size     int64
}

// hasPipeline tells whether the run ends with a pipeline/.
func (r *run) hasPipeline() bool {
	return r.job.Save.Style == job.StyleSimpleTuner && r.job.Engine.Adapter == nil
}

// checkPipeline finds out at the start of a run what would make its last step fail.
func (r *run) checkPipeline() error {
	if !r.hasPipeline() {
		return nil
	}
	if _, err := r.pipelineParts(); err != nil {
		return engine.Errorf(engine.Invalid, "model %s: %v", r.job.Engine.Model, err)
	}
	return nil
}

// writePipeline completes pipeline/, in which the checkpoint publishes the trained transformer, with the other parts of
// the model, so that diffusers loads the folder. It can be repeated.
func (r *run) writePipeline() error {
	if !r.hasPipeline() {
		return nil
	}
	parts, err := r.pipelineParts()
	if err != nil {
		return fmt.Errorf("read model folder: %w", err)
	}
	for _, p := range parts {
		if p.folder {
			err = os.MkdirAll(p.to, 0o755)
		} else {
			err = copyOrLink(p.from, p.to, p.size)
		}
		if err != nil {
			return err
		}
	}
	for _, p := range parts {
		if p.folder {
			if err := (checkpoint.OS{}).Sync(p.to); err != nil {
				return err
			}
		}
	}
	return checkpoint.OS{}.Sync(filepath.Join(r.folder.Dir(), pipelineDir))
}

// pipelineParts lists what the pipeline has besides the trained transformer, each folder before what is in it.
func (r *run) pipelineParts() (parts []part, err error) {
	own, err := filepath.EvalSymlinks(r.folder.Dir())
	if err != nil {
		return nil, fmt.Errorf("find run folder: %w", err)
	}
	model, err := filepath.EvalSymlinks(r.job.Engine.Model)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(model)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.Name() == transformerDir || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		found, err := partsOf(filepath.Join(model, entry.Name()), filepath.Join(own, pipelineDir, entry.Name()), own, []string{model})
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
	}
	return parts, nil
}

// partsOf lists a file or folder of a model, following symbolic links, as downloaded models consist of them. A folder that
// holds the run's own one is no part of a model, and copying it would never end; neither would that of a folder with a
// link to one of those that it is in, which are above.
func partsOf(from, to, own string, above []string) ([]part, error) {
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w; repair or remove the link", from, err)
	}
	stat, err := os.Stat(real)
	switch {
	case err != nil:
		return nil, err
	case stat.Mode().IsRegular():
		return []part{{from: real, to: to, size: stat.Size()}}, nil
	case !stat.IsDir():
		return nil, nil // sockets and pipes are no part of a model
	}
	if below, err := filepath.Rel(real, own); err == nil && filepath.IsLocal(below) {
		return nil, nil
	}
	if slices.Contains(above, real) {
		return nil, fmt.Errorf("%s is a link to a folder that it is in (%s); remove the link", from, real)
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, err
	}
	parts := []part{{to: to, folder: true}}
	for _, entry := range entries {
		found, err := partsOf(filepath.Join(real, entry.Name()), filepath.Join(to, entry.Name()), own, append(above[:len(above):len(above)], real))
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
	}
	return parts, nil
}

// copyOrLink makes a file under a temporary name and renames it, so that what is there is whole.
func copyOrLink(from, to string, size int64) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp := to + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if size < linkFrom || os.Link(from, tmp) != nil {
		if err := checkpoint.CopyFile(from, tmp); err != nil {
			return errors.Join(err, os.Remove(tmp))
		}
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	// Renaming one name of a file to another of the same file leaves both.
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
