package notify

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/store"
)

// Closing writes what was noted at once and leaves no timer that would write into a store that is closed by then.
func TestLedgerClose(t *testing.T) {
	dir := t.TempDir()
	m := openManager(t, dir)
	session := train(t, m, dir)
	l := newLedger(m.Deliveries(), zap.NewNop())
	l.put(store.Delivery{Session: session.Key(), Settled: 3})
	require.NotNil(t, l.timer)
	require.NoError(t, l.close())
	assert.Nil(t, l.timer)
	rows, err := m.Deliveries().List(testContext(t), session.Key())
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, int64(3), rows[0].Settled)

	l.put(store.Delivery{Session: session.Key(), Settled: 4})
	assert.Nil(t, l.timer, "nothing is planned any more")
}
