package checkpoint

import (
	"fmt"
	"path/filepath"
)

// Occasion is the part of a manifest that can change after the checkpoint is made: a later, more important reason to keep
// the same step.
type Occasion struct {
	Reason         string
	Budget         int64
	EvaluationOwed bool
	Published      []string
}

// Retag gives a checkpoint another occasion, publishes its weights under the new names and returns it. The manifest is
// replaced in one rename, so that the checkpoint is whole at every moment; a rolling checkpoint becomes a normal one.
func (f *Folder) Retag(info *Info, occasion Occasion) (*Info, error) {
	m := *info.Manifest
	m.Reason, m.Budget = occasion.Reason, occasion.Budget
	m.EvaluationOwed, m.Published = occasion.EvaluationOwed, occasion.Published
	path := filepath.Join(f.dir, folderName(m.Step, m.Reason))
	if err := f.replaceManifest(info.Path, path, &m); err != nil {
		return nil, fmt.Errorf("keep checkpoint %s as %s: %w", info.Path, m.Reason, err)
	}
	tagged := f.info(path, &m)
	if err := f.publish(tagged); err != nil {
		return nil, fmt.Errorf("publish weights of %s: %w", path, err)
	}
	return tagged, nil
}

func (f *Folder) replaceManifest(from, to string, m *Manifest) error {
	data, err := m.encode()
	if err != nil {
		return err
	}
	tmp := filepath.Join(f.dir, tmpPrefix+randomName()) // removed by Clean after a crash
	if err := f.fsys.WriteFile(tmp, data); err != nil {
		_ = f.fsys.RemoveAll(tmp)
		return err
	}
	if err := f.fsys.Rename(tmp, filepath.Join(from, ManifestName)); err != nil {
		_ = f.fsys.RemoveAll(tmp)
		return err
	}
	if err := f.fsys.Sync(from); err != nil {
		return err
	}
	if from == to {
		return nil
	}
	if err := f.fsys.Rename(from, to); err != nil {
		return err
	}
	return f.fsys.Sync(f.dir)
}
