package main

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without the pause the second signal ends this test's process.
func TestASignalThatComesTwiceIsOne(t *testing.T) {
	ctx, stop := untilSignal(t.Context())
	defer stop()
	for range 2 {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		<-ctx.Done()
	}
}
