package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Quarantine moves a checkpoint and its numbered published weights out of the way and returns where to.
func (f *Folder) Quarantine(path string) (string, error) {
	home := filepath.Join(f.dir, quarantineName)
	if err := f.fsys.MkdirAll(home); err != nil {
		return "", fmt.Errorf("create quarantine folder: %w", err)
	}
	suffix := "-" + randomName()
	m, err := ReadManifest(path)
	if err != nil {
		m = &Manifest{}
	}
	for _, name := range numbered(m) {
		published := filepath.Join(f.dir, filepath.FromSlash(name))
		err := f.fsys.Rename(published, filepath.Join(home, filepath.Base(published)+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("move %s to quarantine: %w", published, err)
		}
	}
	target := filepath.Join(home, filepath.Base(path)+suffix)
	if err := f.fsys.Rename(path, target); err != nil {
		return "", fmt.Errorf("move %s to quarantine: %w", path, err)
	}
	return target, errors.Join(f.fsys.Sync(home), f.fsys.Sync(f.dir))
}

// numbered lists the files and folders in the run folder that are published for this step alone.
func numbered(m *Manifest) []string {
	var names []string
	for _, name := range m.Published {
		if top, _, _ := strings.Cut(name, "/"); strings.Contains(top, StepSuffix(m.Step)) {
			names = append(names, top)
		}
	}
	return names
}

// StepSuffix is the part of a published name that tells the step: "_000000250".
func StepSuffix(step int64) string { return fmt.Sprintf("_%09d", step) }

// Retention says which checkpoints stay.
type Retention struct {
	Keep        int // newest ones; 0: all
	KeepRolling int // newest rolling ones, counted apart; 0: all
	// InUse tells whether a checkpoint folder is lent to somebody, and so stays; may be nil.
	InUse func(path string) bool
}

// Retain removes the oldest checkpoints beyond those that stay, but never the newest one at which a budget was used up.
// It returns what it removed. Call it only after the newest checkpoint is recorded.
func (f *Folder) Retain(r Retention) ([]*Info, error) {
	infos, err := f.List()
	if err != nil {
		return nil, err
	}
	protected := int64(-1)
	var normal, rolling []*Info
	for _, info := range infos {
		if info.Manifest.Step == info.Manifest.Budget {
			protected = info.Manifest.Step
		}
		if info.Rolling {
			rolling = append(rolling, info)
		} else {
			normal = append(normal, info)
		}
	}
	stays := func(info *Info) bool {
		return info.Manifest.Step == protected || r.InUse != nil && r.InUse(info.Path)
	}
	removed, err := f.removeOldest(normal, r.Keep, stays)
	if err != nil {
		return removed, err
	}
	more, err := f.removeOldest(rolling, r.KeepRolling, stays)
	return append(removed, more...), err
}

func (f *Folder) removeOldest(infos []*Info, keep int, stays func(*Info) bool) ([]*Info, error) {
	var removed []*Info
	for i := 0; i < len(infos)-keep && keep > 0; i++ {
		if stays(infos[i]) {
			continue
		}
		if err := f.remove(infos[i]); err != nil {
			return removed, err
		}
		removed = append(removed, infos[i])
	}
	return removed, nil
}

// remove takes the published names first, so that a crash in between leaves a checkpoint that republishes them.
func (f *Folder) remove(info *Info) error {
	for _, name := range numbered(info.Manifest) {
		if err := f.fsys.RemoveAll(filepath.Join(f.dir, filepath.FromSlash(name))); err != nil {
			return fmt.Errorf("remove old checkpoint: %w", err)
		}
	}
	tmp := filepath.Join(f.dir, tmpPrefix+randomName())
	if err := f.fsys.Rename(info.Path, tmp); err != nil {
		return fmt.Errorf("remove old checkpoint: %w", err)
	}
	// Else a power cut could bring the name back with only some of the files.
	if err := f.fsys.Sync(f.dir); err != nil {
		return fmt.Errorf("remove old checkpoint: %w", err)
	}
	if err := f.fsys.RemoveAll(tmp); err != nil {
		return fmt.Errorf("remove old checkpoint: %w", err)
	}
	return nil
}
