package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/job"
)

// linkFrom is the size from which files of the model are linked into the pipeline instead of copied: what people edit by
// hand is small, and must not be the model's own file.
const linkFrom = 1 << 20

// writePipeline completes pipeline/, in which the checkpoint publishes the trained transformer, with the other parts of
// the model, so that diffusers loads the folder. It can be repeated.
func (r *run) writePipeline() error {
	if r.job.Save.Style != job.StyleSimpleTuner || r.job.Engine.Adapter != nil {
		return nil
	}
	own, err := filepath.EvalSymlinks(r.folder.Dir())
	if err != nil {
		return fmt.Errorf("find run folder: %w", err)
	}
	target := filepath.Join(own, pipelineDir)
	entries, err := os.ReadDir(r.job.Engine.Model)
	if err != nil {
		return fmt.Errorf("read model folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == transformerDir || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if err := copyPart(filepath.Join(r.job.Engine.Model, entry.Name()), filepath.Join(target, entry.Name()), own); err != nil {
			return err
		}
	}
	return checkpoint.OS{}.Sync(target)
}

// copyPart copies a file or folder of a model, following symbolic links, as downloaded models consist of them. A folder
// that holds the run's own one is no part of a model, and copying it would never end.
func copyPart(from, to, own string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	stat, err := os.Stat(from)
	switch {
	case err != nil:
		return err
	case stat.Mode().IsRegular():
		return copyOrLink(from, to, stat.Size())
	case !stat.IsDir():
		return nil // sockets and pipes are no part of a model
	}
	if below, err := filepath.Rel(from, own); err == nil && filepath.IsLocal(below) {
		return nil
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := copyPart(filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name()), own); err != nil {
			return err
		}
	}
	return checkpoint.OS{}.Sync(to)
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
