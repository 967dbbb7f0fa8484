package store

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDeliveriesSurviveReopeningAndGoWithTheirSession(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s, err := Open(ctx, dir)
	require.NoError(t, err)
	create(t, s, "k1", "one")
	first := Delivery{Session: "k1", Receiver: 0, Settled: 7}
	second := Delivery{Session: "k1", Receiver: 1, Settled: 3, Failures: 2, Since: time.Unix(5, 1).UTC(), NextTry: time.Unix(9, 0).UTC(),
		Problem: "status 500", Disabled: true}
	letter := DeadLetter{Session: "k1", Receiver: 1, Index: 3, Time: time.Unix(8, 0).UTC(), Problem: "status 400"}
	gone := Delivery{Session: "purged", Settled: 1}
	require.NoError(t, s.Deliveries().Save(ctx, []Delivery{{Session: "k1", Settled: 2}, second, gone}, []DeadLetter{letter}))
	require.NoError(t, s.Deliveries().Save(ctx, []Delivery{first}, []DeadLetter{letter}), "a repeated letter is the same letter")
	require.NoError(t, s.Close())

	s = openTest(t, dir)
	list, err := s.Deliveries().List(ctx, "k1")
	require.NoError(t, err)
	assert.Equal(t, []Delivery{first, second}, list)
	letters, err := s.Deliveries().DeadLetters(ctx, "k1", 10)
	require.NoError(t, err)
	assert.Equal(t, []DeadLetter{letter}, letters)

	require.NoError(t, s.Purge(ctx, "k1"))
	list, err = s.Deliveries().List(ctx, "k1")
	require.NoError(t, err)
	assert.Empty(t, list)
}
