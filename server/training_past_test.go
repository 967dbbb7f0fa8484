package server

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
)

// A reader that is behind events of a deleted job goes on at once with what is in memory.
func TestPastEventsThatAreDeleted(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.fastPath(nil))
	a.waitState(id, sessions.Completed)
	all, _, err := a.server.hub.past.read(testContext(t), a.server.hub, 0)
	require.NoError(t, err)
	assert.NotEmpty(t, all)

	require.NoError(t, a.server.options.Manager.Delete(testContext(t), id))
	h := &hub{manager: a.server.options.Manager, floor: a.server.options.Manager.LastSeq()}
	for range 2 { // the second time it is remembered
		found, upTo, err := h.past.read(testContext(t), h, 0)
		require.NoError(t, err)
		assert.Empty(t, found)
		assert.Equal(t, h.floor, upTo)
	}
	assert.Len(t, h.past.pages, 1)
}
