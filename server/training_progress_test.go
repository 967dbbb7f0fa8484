package server

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/dataset"
)

// Epochs are counted by micro-batches, of which a step may have had another number before the job was changed.
func TestEpochsOfProgress(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(map[string]string{"gradient_accumulation_steps": "2", "max_train_steps": "20"}))
	session, err := a.server.options.Manager.Session(id)
	require.NoError(t, err)
	require.Equal(t, int64(20), session.Job().End())
	now := sessions.Snapshot{Epochs: dataset.Epochs{{Batches: 5}}}
	for _, test := range []struct{ step, microBatch, epoch, total int64 }{
		{1, 2, 1, 8}, {3, 6, 2, 8}, {20, 40, 8, 8}, // two a step from the beginning
		{3, 0, 2, 8},                                   // events that do not tell
		{10, 10, 2, 6}, {11, 12, 3, 6}, {20, 30, 6, 6}, // one a step up to step 10
	} {
		p := progressOf(session, now, sessions.StepEvent{Step: test.step, MicroBatch: test.microBatch})
		assert.Equal(t, []int64{test.epoch, test.total}, []int64{p.Epoch, p.TotalEpochs}, "step %d, micro-batch %d", test.step, test.microBatch)
	}
}

func TestCheckpointsAreNotReadWholeByEverybodyAtOnce(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Completed)
	check := func() int { return a.request("GET", "/api/training/checkpoints/validate/checkpoint-1", nil).status }
	a.server.hashing.Store(hashedAtOnce)
	assert.Equal(t, http.StatusServiceUnavailable, check())
	a.server.hashing.Store(hashedAtOnce - 1)
	for range hashedAtOnce + 1 { // each gives its place back
		assert.Equal(t, http.StatusOK, check())
	}
}
