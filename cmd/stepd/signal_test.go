package main

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Without the pause the second signal ends this test's process.
func TestASignalThatComesTwiceIsOne(t *testing.T) {
	ctx, stop := untilSignal(t.Context())
	defer stop()
	// A signal to the calling thread has arrived when the call returns; one to the process may arrive after stop.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 2 {
		require.NoError(t, unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGTERM))
		<-ctx.Done()
	}
}
