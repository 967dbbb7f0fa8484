// Package checkpoint keeps the checkpoints of a run folder. A checkpoint is a folder checkpoint-<step> that is complete
// or absent: it is written under a temporary name, every file is synced and hashed, the manifest is written last, and
// one rename makes it visible. Published checkpoints are never changed; broken ones are moved to quarantine, never
// deleted.
//
// One Folder is used by one goroutine at a time. Lock keeps other processes away.
package checkpoint

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

const (
	folderPrefix   = "checkpoint-"
	tmpPrefix      = "tmp-"
	quarantineName = "quarantine"
	jobName        = "job.json"
)

// Folder is the run folder as the home of checkpoints.
type Folder struct {
	dir  string
	fsys FS
}

// Info is a checkpoint on disk.
type Info struct {
	Manifest *Manifest
	// Path of the checkpoint folder.
	Path string
	// Weights is the published file or folder, or the one inside the checkpoint when nothing is published.
	Weights string
}

// Open creates the run folder if necessary. fsys is OS{} outside tests.
func Open(dir string, fsys FS) (*Folder, error) {
	if err := fsys.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("create run folder: %w", err)
	}
	return &Folder{dir: dir, fsys: fsys}, nil
}

// Dir is the run folder.
func (f *Folder) Dir() string { return f.dir }

// folderName is the name of the checkpoint of a step.
func folderName(step int64) string { return folderPrefix + strconv.FormatInt(step, 10) }

// Clean removes what interrupted commits and removals left behind.
func (f *Folder) Clean() error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("clean run folder: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), tmpPrefix) {
			if err := f.fsys.RemoveAll(filepath.Join(f.dir, entry.Name())); err != nil {
				return fmt.Errorf("remove unfinished checkpoint: %w", err)
			}
		}
	}
	return nil
}

// Commit writes one checkpoint. write fills an empty folder and returns the path of the weights for other programs in
// it, relative to it. job is stored beside them. m comes with everything but files and digests. On error nothing is
// visible and earlier checkpoints are untouched; a sync that failed is never repeated on the same file.
func (f *Folder) Commit(m Manifest, job []byte, write func(dir string) (weights string, err error)) (*Info, error) {
	tmp := filepath.Join(f.dir, tmpPrefix+randomName())
	if err := f.fill(tmp, &m, job, write); err != nil {
		// Best effort: a leftover is removed by Clean at the next start.
		_ = f.fsys.RemoveAll(tmp)
		return nil, fmt.Errorf("write checkpoint of step %d in %s: %w", m.Step, f.dir, err)
	}
	path := filepath.Join(f.dir, folderName(m.Step))
	if err := f.makeVisible(tmp, path); err != nil {
		_ = f.fsys.RemoveAll(tmp)
		return nil, fmt.Errorf("publish checkpoint %s: %w", path, err)
	}
	info := f.info(path, &m)
	if err := f.publish(info); err != nil {
		return nil, fmt.Errorf("publish weights of %s: %w", path, err)
	}
	return info, nil
}

func (f *Folder) fill(tmp string, m *Manifest, job []byte, write func(dir string) (string, error)) error {
	if err := f.fsys.MkdirAll(tmp); err != nil {
		return err
	}
	weights, err := write(tmp)
	if err != nil {
		return err
	}
	m.Weights = filepath.ToSlash(weights)
	if err := f.fsys.WriteFile(filepath.Join(tmp, jobName), job); err != nil {
		return err
	}
	m.JobDigest = digest(job)
	return writeManifest(f.fsys, tmp, m)
}

// makeVisible renames; a folder that has the name already is from a history that was abandoned or broken.
func (f *Folder) makeVisible(tmp, path string) error {
	if _, err := os.Lstat(path); err == nil {
		if _, err := f.Quarantine(path); err != nil {
			return err
		}
	}
	if err := f.fsys.Rename(tmp, path); err != nil {
		return err
	}
	return f.fsys.Sync(f.dir)
}

func (f *Folder) info(path string, m *Manifest) *Info {
	info := &Info{Manifest: m, Path: path}
	switch {
	case len(m.Published) > 0:
		info.Weights = filepath.Join(f.dir, filepath.FromSlash(m.Published[0]))
	case m.Weights != "":
		info.Weights = filepath.Join(path, filepath.FromSlash(m.Weights))
	}
	return info
}

// Steps lists the steps that have a checkpoint folder, oldest first, complete or not.
func (f *Folder) Steps() ([]int64, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var steps []int64
	for _, entry := range entries {
		if step, ok := parseFolderName(entry.Name()); ok && entry.IsDir() {
			steps = append(steps, step)
		}
	}
	sort.Slice(steps, func(i, k int) bool { return steps[i] < steps[k] })
	return steps, nil
}

func parseFolderName(name string) (int64, bool) {
	digits, ok := strings.CutPrefix(name, folderPrefix)
	if !ok {
		return 0, false
	}
	step, err := strconv.ParseInt(digits, 10, 64)
	return step, err == nil && step >= 0 && folderName(step) == name
}

// List returns the checkpoints whose manifest can be read, oldest first, without reading the other files.
func (f *Folder) List() ([]*Info, error) {
	steps, err := f.Steps()
	if err != nil {
		return nil, err
	}
	var infos []*Info
	for _, step := range steps {
		path := filepath.Join(f.dir, folderName(step))
		if m, err := ReadManifest(path); err == nil {
			infos = append(infos, f.info(path, m))
		}
	}
	return infos, nil
}

// Latest returns the newest checkpoint at or below limit (negative: any) that verifies, or nil when there is none.
// Those that do not verify go to quarantine, each with a call of bad; so do newer ones than limit, which belong to a
// history that is being left. Missing published names are made again.
func (f *Folder) Latest(limit int64, bad func(path string, reason error)) (*Info, error) {
	steps, err := f.Steps()
	if err != nil {
		return nil, err
	}
	for i := len(steps) - 1; i >= 0; i-- {
		path := filepath.Join(f.dir, folderName(steps[i]))
		reason := fmt.Errorf("checkpoint of step %d is newer than the one resumed from", steps[i])
		if limit < 0 || steps[i] <= limit {
			m, err := Verify(path)
			if err == nil {
				info := f.info(path, m)
				return info, f.republish(info)
			}
			reason = err
		}
		moved, err := f.Quarantine(path)
		if err != nil {
			return nil, err
		}
		bad(path, fmt.Errorf("%w; moved to %s", reason, moved))
	}
	return nil, nil
}

func (f *Folder) republish(info *Info) error {
	for _, name := range info.Manifest.Published {
		if _, err := os.Lstat(filepath.Join(f.dir, filepath.FromSlash(name))); err != nil {
			return f.publish(info)
		}
	}
	return nil
}

// Job returns the job stored with a checkpoint.
func (info *Info) Job() (json.RawMessage, error) {
	return os.ReadFile(filepath.Join(info.Path, jobName))
}

// randomName is unpredictable, so that nobody can be waiting under the name.
func randomName() string {
	var raw [8]byte
	// rand.Read never fails on supported systems.
	_, _ = rand.Read(raw[:])
	return hex.EncodeToString(raw[:])
}
