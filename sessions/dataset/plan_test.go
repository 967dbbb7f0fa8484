package dataset

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// samplesInBuckets makes one sample for each bucket number given.
func samplesInBuckets(buckets ...int) []Sample {
	samples := make([]Sample, len(buckets))
	for i, b := range buckets {
		samples[i] = Sample{Placement: Placement{Bucket: Size{8 * (b + 1), 8}}, Repeats: 1}
	}
	return samples
}

func TestEpochHoldsEverySampleOnce(t *testing.T) {
	samples := samplesInBuckets(0, 1, 0, 2, 1, 0, 0, 2, 1, 1, 0)
	samples[3].Repeats = 5
	plan, err := NewPlan(3, 4, samples)
	require.NoError(t, err)
	assert.Equal(t, 15, plan.EpochSamples())
	cursor := plan.From(0)
	for range 4 {
		counts := make([]int, len(samples))
		for range plan.BatchesPerEpoch() {
			batch := cursor.Next()
			require.NotEmpty(t, batch.Samples)
			require.LessOrEqual(t, len(batch.Samples), 4)
			for _, s := range batch.Samples {
				counts[s]++
				require.Equal(t, samples[batch.Samples[0]].Bucket, samples[s].Bucket)
			}
		}
		assert.Equal(t, []int{1, 1, 1, 5, 1, 1, 1, 1, 1, 1, 1}, counts)
	}
}

func TestPlanContinuesAnywhere(t *testing.T) {
	plan, err := NewPlan(99, 3, samplesInBuckets(0, 1, 0, 2, 1, 0, 0, 2, 1, 1, 0))
	require.NoError(t, err)
	whole := plan.From(0)
	for k := range 4 * plan.BatchesPerEpoch() {
		want := whole.Next()
		cursor := plan.From(k)
		require.Equal(t, k, cursor.Position())
		require.Equal(t, want, cursor.Next())
		require.Equal(t, k, want.Index)
	}
	far := plan.From(1e15)
	assert.Equal(t, int64(1e15), far.Next().Index)
}

func TestSeedsDecideTheOrder(t *testing.T) {
	samples := samplesInBuckets(make([]int, 40)...)
	order := func(seed uint64) []int {
		plan, err := NewPlan(seed, 40, samples)
		require.NoError(t, err)
		return plan.From(0).Next().Samples
	}
	assert.Equal(t, order(5), order(5))
	assert.NotEqual(t, order(5), order(6))
	assert.Equal(t, order(5), order(5+1<<32), "the generator looks at 32 bits of the seed")
}

func TestPlanErrors(t *testing.T) {
	_, err := NewPlan(0, 0, samplesInBuckets(0))
	assert.ErrorContains(t, err, "batch size is 0")
	_, err = NewPlan(0, 1, nil)
	assert.ErrorContains(t, err, "no samples")
	many := samplesInBuckets(0)
	many[0].Repeats = maxEntries + 1
	_, err = NewPlan(0, 1, many)
	assert.ErrorContains(t, err, "lower the repeats")
}
