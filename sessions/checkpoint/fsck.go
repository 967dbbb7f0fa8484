package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Finding is something wrong in a run folder.
type Finding struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
	// Repair says what Fsck did, or would do with repair.
	Repair string `json:"repair"`
}

// Fsck checks every checkpoint of a run folder by hash and, with repair, moves broken ones to quarantine, removes
// unfinished ones and makes missing published names again. Hold the Lock.
func Fsck(dir string, repair bool) (good []*Info, findings []Finding, err error) {
	f := &Folder{dir: dir, fsys: OS{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("check run folder: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		switch _, isCheckpoint := ParseName(entry.Name()); {
		case strings.HasPrefix(entry.Name(), tmpPrefix):
			findings = append(findings, Finding{path, "unfinished checkpoint", "removed"})
			if repair {
				err = f.fsys.RemoveAll(path)
			}
		case isCheckpoint:
			var finding *Finding
			var info *Info
			info, finding, err = f.check(path, repair)
			if finding != nil {
				findings = append(findings, *finding)
			}
			if info != nil {
				good = append(good, info)
			}
		}
		if err != nil {
			return good, findings, err
		}
	}
	return good, findings, nil
}

func (f *Folder) check(path string, repair bool) (*Info, *Finding, error) {
	m, problem := Verify(path)
	if problem != nil {
		finding := &Finding{path, problem.Error(), "moved to quarantine"}
		if !repair {
			return nil, finding, nil
		}
		_, err := f.Quarantine(path)
		return nil, finding, err
	}
	info := f.info(path, m)
	for _, name := range m.Published {
		if _, err := os.Lstat(filepath.Join(f.dir, filepath.FromSlash(name))); err == nil {
			continue
		}
		finding := &Finding{filepath.Join(f.dir, name), "published weights are missing", "linked again"}
		if !repair {
			return info, finding, nil
		}
		return info, finding, f.publish(info)
	}
	return info, nil, nil
}
