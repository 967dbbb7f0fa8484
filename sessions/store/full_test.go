package store

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// limitFiles lets this process write no file beyond a size, as a disk that is full there.
func limitFiles(t *testing.T, size uint64) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	limit.Cur = min(size, limit.Max)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}

// TestAFullDiskAtEveryPage fails the writing of a transaction at its first page, at its second, and so on until all fit.
// Each time nothing of it may be there, and the next attempt on a disk with space must work.
func TestAFullDiskAtEveryPage(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ) // the write fails instead
	t.Cleanup(func() { signal.Reset(syscall.SIGXFSZ) })
	t.Cleanup(func() { limitFiles(t, 1<<63-1) })
	ctx := context.Background()
	dir := t.TempDir()
	s := openTest(t, dir)
	create(t, s, "k1", "one")
	const page = 4096
	index, failures := int64(0), 0
	for round := 0; ; round++ {
		wal, err := os.Stat(filepath.Join(dir, FileName+"-wal"))
		require.NoError(t, err)
		update := Update{Session: "k1", Record: []byte(strings.Repeat("r", 3*page))}
		for range 20 {
			index++
			update.Events = append(update.Events, Event{Index: index, Kind: "step", Data: []byte(strings.Repeat("e", page/4))})
		}
		limitFiles(t, uint64(wal.Size())+uint64(round)*page/2)
		_, err = s.Apply(ctx, update)
		limitFiles(t, 1<<63-1)
		if err == nil {
			break
		}
		failures++
		last, err := s.LastIndex(ctx, "k1")
		require.NoError(t, err)
		require.Equal(t, index-20, last, "round %d: nothing of a failed update is there", round)
		_, err = s.Apply(ctx, update)
		require.NoError(t, err, "round %d: with space it works", round)
	}
	assert.Greater(t, failures, 10)
	require.NoError(t, s.Check(ctx))
	events, err := s.Events(ctx, "k1", 0, 1<<20)
	require.NoError(t, err)
	for i, e := range events {
		require.Equal(t, int64(i+1), e.Index, fmt.Sprint(len(events)))
	}
	assert.Equal(t, index, int64(len(events)))
}
