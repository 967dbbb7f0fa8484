package sessions

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/stepd/stepd/sessions/store"
)

func TestRecent(t *testing.T) {
	var r recent
	_, known := r.since(0, 10)
	assert.False(t, known, "nothing is known at first")
	for index := int64(5); index < 105; index += 2 {
		r.add([]store.Event{{Index: index}, {Index: index + 1}}, false)
	}
	indices := func(after int64, limit int) (all []int64) {
		rows, known := r.since(after, limit)
		assert.True(t, known)
		for _, row := range rows {
			all = append(all, row.Index)
		}
		return all
	}
	const newest, oldest = int64(104), int64(104 - recentEvents + 1)
	assert.Equal(t, []int64{newest}, indices(newest-1, 10))
	assert.Empty(t, indices(newest, 10))
	assert.Empty(t, indices(newest+7, 10), "a reader from the future")
	assert.Equal(t, []int64{oldest, oldest + 1}, indices(oldest-1, 2))
	assert.Len(t, indices(oldest-1, 1000), recentEvents)
	_, known = r.since(oldest-2, 10)
	assert.False(t, known, "older ones are in the store")
	r.add([]store.Event{{Index: newest + 1}}, true)
	_, known = r.since(newest, 10)
	assert.False(t, known, "an ended session keeps none")
}
