package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
)

// promises are what callers of a Folder were told.
type promises struct {
	kept  map[int64]bool // steps with a checkpoint
	going map[int64]bool // those among them that may be gone already
}

// powered is a run folder on a disk whose power is cut after every operation.
type powered struct {
	*checkpoint.Folder
	t    *testing.T
	told promises
	seen map[string]bool
}

// check opens an image as a new process would.
func (p *powered) check(operation string, image fixture.Image) {
	key := fmt.Sprint(p.told) + image.Key()
	if p.seen[key] {
		return
	}
	p.seen[key] = true
	dir := p.t.TempDir()
	require.NoError(p.t, image.Restore(dir))
	folder, err := checkpoint.Open(filepath.Join(dir, "outputs", "run"), checkpoint.OS{})
	require.NoError(p.t, err)
	require.NoError(p.t, folder.Clean())
	infos, err := folder.List()
	require.NoError(p.t, err)
	for _, info := range infos {
		_, err := checkpoint.Verify(info.Path)
		assert.NoError(p.t, err, "what is visible is complete, after %s", operation)
	}
	newest := int64(-1)
	for step := range p.told.kept {
		if !p.told.going[step] {
			newest = max(newest, step)
			assert.True(p.t, slices.ContainsFunc(infos, func(info *checkpoint.Info) bool { return info.Manifest.Step == step }),
				"step %d is lost by a power cut after %s", step, operation)
		}
	}
	latest, err := folder.Latest(-1, func(path string, reason error) {
		if step, _ := checkpoint.ParseName(filepath.Base(path)); p.told.kept[step] && !p.told.going[step] {
			assert.Fail(p.t, "a checkpoint that was promised is damaged", "%s after %s: %v", path, operation, reason)
		}
	})
	require.NoError(p.t, err)
	if newest < 0 {
		return
	}
	if assert.NotNil(p.t, latest, "after %s", operation) {
		assert.GreaterOrEqual(p.t, latest.Manifest.Step, newest)
		weights, err := os.ReadFile(latest.Weights)
		assert.NoError(p.t, err, "weights are published again")
		assert.Equal(p.t, content(latest.Manifest.Step), string(weights), "after %s", operation)
	}
}

func content(step int64) string { return "weights" + checkpoint.StepSuffix(step) }

// save commits a checkpoint whose files the engine writes by itself, and then counts on it.
func (p *powered) save(step int64, reason string) *checkpoint.Info {
	manifest := checkpoint.Manifest{Step: step, Reason: reason, Name: "run", Budget: 100, Published: []string{"run" + checkpoint.StepSuffix(step), "run"}}
	info, err := p.Commit(manifest, []byte(`{"name":"run"}`), func(dir string) (string, error) {
		if err := os.Mkdir(filepath.Join(dir, "state"), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, "state", "optimizer"), []byte("optimizer"), 0o644); err != nil {
			return "", err
		}
		return "weights", os.WriteFile(filepath.Join(dir, "weights"), []byte(content(step)), 0o644)
	})
	require.NoError(p.t, err)
	p.told.kept[step] = true
	return info
}

// cutting opens a run folder whose disk is below root, by what open makes of the disk.
func cutting(t *testing.T, disk func(*fixture.Disk) checkpoint.FS) *powered {
	t.Helper()
	p := &powered{t: t, told: promises{kept: map[int64]bool{}, going: map[int64]bool{}}, seen: map[string]bool{}}
	root := t.TempDir()
	folder, err := checkpoint.Open(filepath.Join(root, "outputs", "run"), disk(&fixture.Disk{Root: root, Cut: p.check}))
	require.NoError(t, err)
	p.Folder = folder
	return p
}

// TestNoPowerCutLosesACheckpoint cuts the power after every operation on a run folder. The images hold no more than what
// was synced by then, with every combination of folders that the system may have written by itself.
func TestNoPowerCutLosesACheckpoint(t *testing.T) {
	p := cutting(t, func(d *fixture.Disk) checkpoint.FS { return d })
	p.save(10, "interval")
	rolling := p.save(20, checkpoint.ReasonRolling)
	_, err := p.Retag(rolling, checkpoint.Occasion{Reason: "manual", Budget: 100, Published: rolling.Manifest.Published})
	require.NoError(t, err)

	p.told.going[10] = true
	removed, err := p.Retain(checkpoint.Retention{Keep: 1})
	require.NoError(t, err)
	require.Len(t, removed, 1)

	// A history that is left: its checkpoint of step 30 gives way to another one.
	p.save(30, "interval")
	p.told.going[30] = true
	_, err = p.Latest(20, func(string, error) {})
	require.NoError(t, err)
	delete(p.told.kept, 30)
	delete(p.told.going, 30)
	p.save(30, "final")
	assert.Greater(t, len(p.seen), 60)
}

// forgetful is a disk on which some syncs do nothing.
type forgetful struct {
	*fixture.Disk
	forgets func(path string) bool
}

func (f forgetful) Sync(path string) error {
	if f.forgets(path) {
		return nil
	}
	return f.Disk.Sync(path)
}

// TestPowerCutsFindAMissingSync proves that the images of the other test show what goes wrong.
func TestPowerCutsFindAMissingSync(t *testing.T) {
	tests := map[string]func(path string) bool{
		"of the run folder":          func(path string) bool { return filepath.Base(path) == "run" },
		"of the outputs folder":      func(path string) bool { return filepath.Base(path) == "outputs" },
		"of a file of the engine":    func(path string) bool { return filepath.Base(path) == "weights" },
		"of a folder below":          func(path string) bool { return filepath.Base(path) == "state" },
		"of the checkpoint's folder": func(path string) bool { return len(filepath.Base(path)) == len("tmp-0123456789abcdef") },
	}
	for name, forgets := range tests {
		t.Run(name, func(t *testing.T) {
			lost := 0
			p := cutting(t, func(d *fixture.Disk) checkpoint.FS {
				d.Cut = func(_ string, image fixture.Image) {
					dir := t.TempDir()
					require.NoError(t, image.Restore(dir))
					if _, err := checkpoint.Verify(filepath.Join(dir, "outputs", "run", "checkpoint-10")); err != nil {
						lost++
					}
				}
				return forgetful{d, forgets}
			})
			p.save(10, "interval")
			lost = 0
			p.save(20, "interval")
			assert.Positive(t, lost, "a power cut loses the checkpoint of step 10")
		})
	}
}
