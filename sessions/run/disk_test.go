package run

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// fullDisk has no space for manifests until it is freed.
type fullDisk struct {
	checkpoint.OS
	refused chan struct{} // one token per refusal
	freed   *atomic.Bool
}

func (d fullDisk) WriteFile(path string, data []byte) error {
	if filepath.Base(path) == checkpoint.ManifestName && !d.freed.Load() {
		d.refused <- struct{}{}
		return &os.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	return d.OS.WriteFile(path, data)
}

func TestAFullDiskIsWaitedFor(t *testing.T) {
	for _, abort := range []bool{false, true} {
		j := fixture.Job(t, t.TempDir())
		r, control := &recorder{}, NewControl()
		control.Allow(j.Steps)
		disk := fullDisk{refused: make(chan struct{}, 1000), freed: &atomic.Bool{}}
		go func() {
			<-disk.refused
			<-disk.refused
			if abort {
				control.Abort()
			} else {
				disk.freed.Store(true)
			}
		}()
		outcome, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir(), FS: disk, DiskRetry: time.Millisecond}, &fake.Engine{}, control, r)
		require.Len(t, r.warnings, 1)
		assert.Contains(t, r.warnings[0], "disk is full")
		if abort {
			require.ErrorIs(t, err, syscall.ENOSPC)
			assert.Empty(t, r.settled)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, Completed, outcome)
		assert.Len(t, r.checkpoints, 1)
		assert.Equal(t, r.warnings, r.settled, "nobody is told any more that the disk is full")
	}
}

func TestARunThatEndsWithoutACheckpointSaysSo(t *testing.T) {
	for outcome, end := range map[Outcome]func(*Control){Aborted: (*Control).Abort, Stopped: (*Control).Stop} {
		j := fixture.Job(t, t.TempDir())
		r, control := &recorder{}, NewControl()
		control.Allow(j.Steps)
		r.onStep = func(step int64) {
			if step == 3 {
				end(control)
			}
		}
		disk := fullDisk{refused: make(chan struct{}, 1000), freed: &atomic.Bool{}}
		got, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir(), FS: disk}, &fake.Engine{}, control, r)
		require.NoError(t, err)
		assert.Equal(t, outcome, got)
		assert.Empty(t, r.checkpoints)
		require.Len(t, r.warnings, 1)
		assert.Contains(t, r.warnings[0], "without a checkpoint of step 3")
		assert.Contains(t, r.warnings[0], "no space left")
	}
}
