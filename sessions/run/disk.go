package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// whenSpace repeats work that a full disk refuses until there is space, unless the run has to end. what names the work
// in the warning: "checkpoint of step 10".
func (r *run) whenSpace(ctx context.Context, what string, work func() error) error {
	ending, cancel := r.control.onEnd(ctx)
	defer cancel()
	for warning := ""; ; {
		err := work()
		if err == nil && warning != "" {
			r.reporter.Settled(warning)
		}
		if err == nil || !isDiskFull(err) || ending.Err() != nil {
			return err
		}
		if warning == "" {
			warning = fmt.Sprintf("the disk is full; the run waits until there is space for the %s: %v", what, err)
			r.reporter.Warning(warning)
		}
		retry := time.NewTimer(r.request.DiskRetry)
		select {
		case <-retry.C:
		case <-ending.Done():
			retry.Stop()
			return err
		}
	}
}

// isDiskFull also knows the errors of the native core, which come as text.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), "No space left on device") || strings.Contains(err.Error(), "Disk quota exceeded")
}
