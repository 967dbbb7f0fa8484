package sessions

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
)

// lent asks for memory without waiting for it.
func lent(t *testing.T, p *memoryPool, total, available int64) (release func(), admitted <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	result := make(chan error, 1)
	releases := make(chan func(), 1)
	before := waiting(p)
	go func() {
		release, err := p.acquire(ctx, "cpu", engine.Plan{Total: total, Available: available})
		releases <- release
		result <- err
	}()
	require.Eventually(t, func() bool { return len(result) == 1 || waiting(p) > before }, testTimeout, 1)
	return func() { (<-releases)() }, result
}

func waiting(p *memoryPool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.devices["cpu"]; d != nil {
		return len(d.queue)
	}
	return 0
}

func isAdmitted(t *testing.T, admitted <-chan error) bool {
	t.Helper()
	select {
	case err := <-admitted:
		require.NoError(t, err)
		return true
	default:
		return false
	}
}

func TestMeasuredMemory(t *testing.T) {
	t.Run("a measure that was too low is raised by the next", func(t *testing.T) {
		p := &memoryPool{}
		_, first := lent(t, p, 3, 4) // something else uses 12 of 16
		assert.True(t, isAdmitted(t, first))
		_, second := lent(t, p, 10, 13) // and has ended
		assert.True(t, isAdmitted(t, second))
	})
	t.Run("what does not fit beside others waits, and is measured again when it is alone", func(t *testing.T) {
		p := &memoryPool{}
		release, first := lent(t, p, 10, 16)
		require.True(t, isAdmitted(t, first))
		releaseSecond, second := lent(t, p, 14, 6)
		require.False(t, isAdmitted(t, second))
		_, third := lent(t, p, 1, 6)
		require.False(t, isAdmitted(t, third), "nobody overtakes")
		release()
		require.NoError(t, <-second)
		assert.False(t, isAdmitted(t, third), "the measure was taken beside the first")
		releaseSecond()
		require.NoError(t, <-third)
	})
	t.Run("a limit is a limit", func(t *testing.T) {
		p := &memoryPool{limit: 10}
		_, err := p.acquire(testContext(t), "cpu", engine.Plan{Total: 11, Available: 100})
		var failure *engine.Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, engine.OutOfMemory, failure.Code)
	})
}
