package checkpoint

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// failing is an FS whose n-th operation fails, once or from then on.
type failing struct {
	OS
	n       int
	forever bool
	calls   int
}

var errInjected = errors.New("injected")

func (f *failing) next() error {
	f.calls++
	if f.calls == f.n || f.forever && f.calls > f.n {
		return errInjected
	}
	return nil
}

func (f *failing) MkdirAll(path string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.OS.MkdirAll(path)
}

// WriteFile leaves half a file behind, as a full disk does.
func (f *failing) WriteFile(path string, data []byte) error {
	if err := f.next(); err != nil {
		return errors.Join(err, f.OS.WriteFile(path, data[:len(data)/2]))
	}
	return f.OS.WriteFile(path, data)
}

func (f *failing) Sync(path string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.OS.Sync(path)
}

func (f *failing) Rename(oldpath, newpath string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.OS.Rename(oldpath, newpath)
}

func (f *failing) Link(oldpath, newpath string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.OS.Link(oldpath, newpath)
}

func (f *failing) RemoveAll(path string) error {
	if err := f.next(); err != nil {
		return err
	}
	return f.OS.RemoveAll(path)
}

// save commits a checkpoint with two state files and published weights.
func save(f *Folder, step int64, reason string) (*Info, error) {
	m := Manifest{Step: step, Reason: reason, Name: "run", Published: []string{"run" + StepSuffix(step) + ".safetensors"}}
	if reason == "budget" {
		m.Budget = step
	}
	return f.Commit(m, []byte(`{"name":"run"}`), func(dir string) (string, error) {
		if err := os.MkdirAll(filepath.Join(dir, "state"), 0o755); err != nil {
			return "", err
		}
		for _, name := range []string{"weights.safetensors", "state/optimizer.bin"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(name+StepSuffix(step)), 0o644); err != nil {
				return "", err
			}
		}
		return "weights.safetensors", nil
	})
}

func noBad(t *testing.T) func(string, error) {
	return func(path string, reason error) { t.Errorf("%s is bad: %v", path, reason) }
}

func TestCommitIsVisibleAndVerifies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	folder, err := Open(dir, OS{})
	require.NoError(t, err)
	info, err := save(folder, 10, "budget")
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "run_000000010.safetensors"), info.Weights)
	assert.FileExists(t, info.Weights)

	latest, err := folder.Latest(-1, noBad(t))
	require.NoError(t, err)
	assert.Equal(t, int64(10), latest.Manifest.Step)
	assert.Equal(t, info.Manifest.Files, latest.Manifest.Files)
	assert.Len(t, latest.Manifest.Files, 3)
}

// TestEveryFailureLeavesTheEarlierCheckpoint fails each file operation of a commit in turn, once and for good.
func TestEveryFailureLeavesTheEarlierCheckpoint(t *testing.T) {
	for _, forever := range []bool{false, true} {
		for n := 1; ; n++ {
			dir := filepath.Join(t.TempDir(), "run")
			folder, err := Open(dir, OS{})
			require.NoError(t, err)
			_, err = save(folder, 10, "budget")
			require.NoError(t, err)

			faulty := &failing{n: n, forever: forever}
			info, err := save(&Folder{dir: dir, fsys: faulty}, 20, "budget")
			if err == nil {
				require.Greater(t, n, 10, "a commit has more operations than that")
				require.Less(t, faulty.calls, n, "an injected failure went unnoticed")
				break
			}
			require.ErrorIs(t, err, errInjected)
			require.Nil(t, info)

			require.NoError(t, folder.Clean())
			latest, err := folder.Latest(-1, noBad(t))
			require.NoError(t, err)
			// After the rename the new one counts: it is complete, and gets its published name when it is adopted.
			require.Contains(t, []int64{10, 20}, latest.Manifest.Step)
			require.FileExists(t, latest.Weights)
			entries, err := filepath.Glob(filepath.Join(dir, tmpPrefix+"*"))
			require.NoError(t, err)
			require.Empty(t, entries)
		}
	}
}

func TestLatestQuarantinesBrokenCheckpoints(t *testing.T) {
	damage := map[string]func(t *testing.T, dir string){
		"flipped bit": func(t *testing.T, dir string) {
			path := filepath.Join(dir, "state", "optimizer.bin")
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			data[3] ^= 1
			require.NoError(t, os.WriteFile(path, data, 0o644))
		},
		"truncated file": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "weights.safetensors"), 3))
		},
		"missing file": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, "state", "optimizer.bin")))
		},
		"missing manifest": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(filepath.Join(dir, ManifestName)))
		},
		"empty manifest": func(t *testing.T, dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, ManifestName), 0))
		},
		"manifest of another step": func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(filepath.Dir(dir), folderName(10, ""), ManifestName))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, ManifestName), data, 0o644))
		},
	}
	for name, apply := range damage {
		t.Run(name, func(t *testing.T) {
			folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
			require.NoError(t, err)
			_, err = save(folder, 10, "budget")
			require.NoError(t, err)
			broken, err := save(folder, 20, "budget")
			require.NoError(t, err)
			apply(t, broken.Path)

			var bad []string
			latest, err := folder.Latest(-1, func(path string, _ error) { bad = append(bad, path) })
			require.NoError(t, err)
			assert.Equal(t, int64(10), latest.Manifest.Step)
			assert.Equal(t, []string{broken.Path}, bad)
			assert.NoDirExists(t, broken.Path)
			kept, err := filepath.Glob(filepath.Join(folder.Dir(), quarantineName, "checkpoint-20-*"))
			require.NoError(t, err)
			assert.Len(t, kept, 1, "broken checkpoints are kept for inspection")
		})
	}
}

func TestLatestLeavesANewerHistory(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	for _, step := range []int64{10, 20, 30} {
		_, err = save(folder, step, "interval")
		require.NoError(t, err)
	}
	left := 0
	latest, err := folder.Latest(10, func(string, error) { left++ })
	require.NoError(t, err)
	assert.Equal(t, int64(10), latest.Manifest.Step)
	assert.Equal(t, 2, left)
	assert.NoFileExists(t, filepath.Join(folder.Dir(), "run_000000030.safetensors"))
}

func TestLatestMakesMissingPublishedNamesAgain(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	info, err := save(folder, 10, "budget")
	require.NoError(t, err)
	require.NoError(t, os.Remove(info.Weights))
	latest, err := folder.Latest(-1, noBad(t))
	require.NoError(t, err)
	assert.FileExists(t, latest.Weights)
}

func TestRetain(t *testing.T) {
	tests := []struct {
		name    string
		reasons []string // of the checkpoints of steps 1, 2, …
		keep    int
		rolling int
		left    []int64
	}{
		{"keeps the newest", []string{"interval", "interval", "interval"}, 2, 0, []int64{2, 3}},
		{"keeps all", []string{"interval", "rolling", "rolling"}, 0, 0, []int64{1, 2, 3}},
		{"never removes the newest of a budget", []string{"budget", "budget", "interval", "interval"}, 1, 0, []int64{2, 4}},
		{"has fewer than it may keep", []string{"interval"}, 5, 0, []int64{1}},
		{"counts rolling ones apart", []string{"interval", "rolling", "interval", "rolling", "rolling"}, 1, 2, []int64{3, 4, 5}},
		{"keeps all but rolling ones", []string{"interval", "rolling", "rolling", "interval"}, 0, 1, []int64{1, 3, 4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
			require.NoError(t, err)
			for i, reason := range test.reasons {
				_, err = save(folder, int64(i+1), reason)
				require.NoError(t, err)
			}
			removed, err := folder.Retain(Retention{Keep: test.keep, KeepRolling: test.rolling})
			require.NoError(t, err)
			assert.Equal(t, test.left, stepsOf(t, folder))
			assert.Len(t, removed, len(test.reasons)-len(test.left))
			published, err := filepath.Glob(filepath.Join(folder.Dir(), "*.safetensors"))
			require.NoError(t, err)
			assert.Len(t, published, len(test.left))
		})
	}
}

func TestFullModelsArePublishedAsFolders(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	write := func(dir string) (string, error) {
		if err := os.MkdirAll(filepath.Join(dir, "transformer"), 0o755); err != nil {
			return "", err
		}
		return "transformer", os.WriteFile(filepath.Join(dir, "transformer", "config.json"), []byte("{}"), 0o644)
	}
	m := Manifest{Step: 5, Name: "run", Published: []string{"run_000000005/transformer", "run/transformer"}}
	for range 2 {
		_, err = folder.Commit(m, nil, write)
		require.NoError(t, err)
		assert.FileExists(t, filepath.Join(folder.Dir(), "run_000000005", "transformer", "config.json"))
		assert.FileExists(t, filepath.Join(folder.Dir(), "run", "transformer", "config.json"))
	}
}

func TestPublishedFoldersGoWithTheirCheckpoint(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	for step := int64(1); step <= 3; step++ {
		m := Manifest{Step: step, Name: "run", Published: []string{"run" + StepSuffix(step) + "/transformer", "run/transformer"}}
		_, err = folder.Commit(m, nil, func(dir string) (string, error) {
			return "transformer", os.MkdirAll(filepath.Join(dir, "transformer"), 0o755)
		})
		require.NoError(t, err)
	}
	_, err = folder.Retain(Retention{Keep: 2})
	require.NoError(t, err)
	assert.NoDirExists(t, filepath.Join(folder.Dir(), "run_000000001"))
	assert.DirExists(t, filepath.Join(folder.Dir(), "run_000000002", "transformer"))
	_, err = folder.Quarantine(filepath.Join(folder.Dir(), "checkpoint-3"))
	require.NoError(t, err)
	assert.NoDirExists(t, filepath.Join(folder.Dir(), "run_000000003"))
	assert.DirExists(t, filepath.Join(folder.Dir(), "run", "transformer"), "the name of the run belongs to no step")
}

func TestFsckFindsAndRepairs(t *testing.T) {
	folder, err := Open(filepath.Join(t.TempDir(), "run"), OS{})
	require.NoError(t, err)
	_, err = save(folder, 1, "interval")
	require.NoError(t, err)
	broken, err := save(folder, 2, "interval")
	require.NoError(t, err)
	unpublished, err := save(folder, 3, "interval")
	require.NoError(t, err)
	require.NoError(t, os.Truncate(filepath.Join(broken.Path, jobName), 1))
	require.NoError(t, os.Remove(unpublished.Weights))
	require.NoError(t, os.Mkdir(filepath.Join(folder.Dir(), "tmp-1"), 0o755))

	for _, repair := range []bool{false, true} {
		good, findings, err := Fsck(folder.Dir(), repair)
		require.NoError(t, err)
		assert.Len(t, good, 2)
		assert.Len(t, findings, 3)
	}
	_, findings, err := Fsck(folder.Dir(), false)
	require.NoError(t, err)
	assert.Empty(t, findings)
}

func TestLockExcludesUntilReleased(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(context.Background(), dir, func() { assert.Fail(t, "nobody else is here") })
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Lock(cancelled, dir, nil)
	require.ErrorIs(t, err, context.Canceled)
	calls := 0
	second, err := Lock(context.Background(), dir, func() { calls++; unlock() })
	require.NoError(t, err)
	assert.Equal(t, 1, calls)
	second()
}

func TestManifestsCannotNameOtherFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), folderName(1, ""))
	require.NoError(t, os.Mkdir(dir, 0o755))
	for problem, m := range map[string]Manifest{
		`names "../x"`:        {Format: manifestFormat, Step: 1, Files: map[string]File{"../x": {}}},
		`names "/etc/passwd"`: {Format: manifestFormat, Step: 1, Published: []string{"/etc/passwd"}},
		`names "../../x"`:     {Format: manifestFormat, Step: 1, Weights: "../../x"},
		"has format":          {Format: manifestFormat + 1, Step: 1},
		"is of step 2":        {Format: manifestFormat, Step: 2},
	} {
		data, err := m.encode()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, ManifestName), data, 0o644))
		_, err = Verify(dir)
		assert.ErrorContains(t, err, problem)
	}
}
