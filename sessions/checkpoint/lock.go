package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// lockPoll is how often a busy lock is tried again; flock has no wait that a context could end.
const lockPoll = 50 * time.Millisecond

// Lock makes this process the only one to work in a run folder until unlock is called, or the process ends. It waits
// for the present holder, for example the worker of a server that died, until ctx ends; busy is called before it does.
func Lock(ctx context.Context, dir string, busy func()) (unlock func(), err error) {
	path := filepath.Join(dir, ".lock")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for first := true; ; first = false {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock folder %s: %w", dir, err), file.Close())
		}
		if first && busy != nil {
			busy()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("folder %s is in use by another process: %w", dir, ctx.Err()), file.Close())
		case <-ticker.C:
		}
	}
}
