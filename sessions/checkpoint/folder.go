// Package checkpoint keeps the checkpoints of a run folder. A checkpoint is a folder checkpoint-<step> that is complete
// or absent: it is written under a temporary name, every file is synced and hashed, the manifest is written last, and
// one rename makes it visible. Published checkpoints are never changed, but for the occasion that their manifest names
// (Retag); broken ones are moved to quarantine, never deleted.
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
	rollingSuffix  = "-rolling"
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
	// Rolling checkpoints are counted apart by Retain.
	Rolling bool
}

// Open creates the run folder if necessary. fsys is OS{} outside tests.
func Open(dir string, fsys FS) (*Folder, error) {
	if err := MakeFolder(fsys, dir); err != nil {
		return nil, fmt.Errorf("create run folder: %w", err)
	}
	return &Folder{dir: dir, fsys: fsys}, nil
}

// At is the Folder of a reader, who makes nothing.
func At(dir string) *Folder { return &Folder{dir: dir, fsys: OS{}} }

// Dir is the run folder.
func (f *Folder) Dir() string { return f.dir }

// ReasonRolling marks checkpoints that are kept apart from the others; their folders end in "-rolling".
const ReasonRolling = "rolling"

// folderName is the name of the checkpoint of a step.
func folderName(step int64, reason string) string {
	name := folderPrefix + strconv.FormatInt(step, 10)
	if reason == ReasonRolling {
		name += rollingSuffix
	}
	return name
}

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
	path := filepath.Join(f.dir, folderName(m.Step, m.Reason))
	if err := f.makeVisible(tmp, path, m.Step); err != nil {
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
	return writeManifest(f.fsys, tmp, m)
}

// makeVisible renames; a folder of the same step is from a history that was abandoned or broken.
func (f *Folder) makeVisible(tmp, path string, step int64) error {
	for _, reason := range []string{"", ReasonRolling} {
		old := filepath.Join(f.dir, folderName(step, reason))
		if _, err := os.Lstat(old); err == nil {
			if _, err := f.Quarantine(old); err != nil {
				return err
			}
		}
	}
	if err := f.fsys.Rename(tmp, path); err != nil {
		return err
	}
	return f.fsys.Sync(f.dir)
}

func (f *Folder) info(path string, m *Manifest) *Info {
	info := &Info{Manifest: m, Path: path, Rolling: strings.HasSuffix(path, rollingSuffix)}
	switch {
	case len(m.Published) > 0:
		info.Weights = filepath.Join(f.dir, filepath.FromSlash(m.Published[0]))
	case m.Weights != "":
		info.Weights = filepath.Join(path, filepath.FromSlash(m.Weights))
	}
	return info
}

// Empty tells whether there is no checkpoint folder, complete or not.
func (f *Folder) Empty() (bool, error) {
	folders, err := f.folders()
	return len(folders) == 0, err
}

// stepFolder is a folder with the name of a checkpoint.
type stepFolder struct {
	step int64
	path string
}

// folders lists the checkpoint folders, complete or not, oldest first.
func (f *Folder) folders() ([]stepFolder, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var folders []stepFolder
	for _, entry := range entries {
		if step, ok := ParseName(entry.Name()); ok && entry.IsDir() {
			folders = append(folders, stepFolder{step, filepath.Join(f.dir, entry.Name())})
		}
	}
	sort.Slice(folders, func(i, k int) bool { return folders[i].step < folders[k].step })
	return folders, nil
}

// ParseName returns the step of the name of a checkpoint folder, as "checkpoint-250" or "checkpoint-250-rolling".
func ParseName(name string) (step int64, ok bool) {
	digits, ok := strings.CutPrefix(strings.TrimSuffix(name, rollingSuffix), folderPrefix)
	if !ok {
		return 0, false
	}
	step, err := strconv.ParseInt(digits, 10, 64)
	return step, err == nil && step >= 0 && isNameOf(name, step)
}

func isNameOf(name string, step int64) bool {
	return name == folderName(step, "") || name == folderName(step, ReasonRolling)
}

// List returns the checkpoints whose manifest can be read, oldest first, without reading the other files.
func (f *Folder) List() ([]*Info, error) {
	folders, err := f.folders()
	if err != nil {
		return nil, err
	}
	var infos []*Info
	for _, folder := range folders {
		if m, err := ReadManifest(folder.path); err == nil {
			infos = append(infos, f.info(folder.path, m))
		}
	}
	return infos, nil
}

// Latest returns the newest checkpoint at or below limit (negative: any) that verifies, or nil when there is none.
// Those that do not verify go to quarantine, each with a call of bad; so do newer ones than limit, which belong to a
// history that is being left. Missing published names are made again.
func (f *Folder) Latest(limit int64, bad func(path string, reason error)) (*Info, error) {
	folders, err := f.folders()
	if err != nil {
		return nil, err
	}
	for i := len(folders) - 1; i >= 0; i-- {
		path := folders[i].path
		reason := fmt.Errorf("checkpoint of step %d is newer than the one resumed from", folders[i].step)
		if limit < 0 || folders[i].step <= limit {
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
