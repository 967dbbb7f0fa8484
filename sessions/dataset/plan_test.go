package dataset

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
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
	cursor := plan.From(0)
	for range 4 {
		counts := make([]int, len(samples))
		for range plan.Epochs().Length(0) {
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
	for k := range 4 * plan.Epochs().Length(0) {
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

// A run that continues with another number of micro-batches in each step keeps the steps at which datasets come and leave.
func TestScheduleFollowsStepsWhenAccumulationChanges(t *testing.T) {
	samples := samplesInBuckets(make([]int, 8)...)
	for i := range samples {
		samples[i].Dataset = []string{"a", "b"}[i/4]
	}
	j := &job.Job{BatchSize: 1, Mixing: job.MixShare, Steps: 10, Engine: engine.Config{Accumulation: 2},
		Datasets: []job.Dataset{{ID: "a", EndStep: 5}, {ID: "b", StartStep: 6}}}
	first := func(p *Plan) (batch int64) {
		for c := p.From(0); ; {
			if b := c.Next(); b.Samples[0] >= 4 {
				return b.Index
			}
		}
	}
	plan, err := PlanJob(j, samples)
	require.NoError(t, err)
	assert.Equal(t, int64(10), first(plan))

	j.Engine.Accumulation = 3 // from step 2 on: step 6 begins with micro-batch 2*2 + 3*3
	plan, err = ContinueJob(j, samples, 2, 4)
	require.NoError(t, err)
	assert.Equal(t, int64(13), first(plan))

	same, err := ContinueJob(j, samples, 4, 12)
	require.NoError(t, err)
	plan, err = PlanJob(j, samples)
	require.NoError(t, err)
	assert.Equal(t, plan.Epochs(), same.Epochs(), "nothing has changed")
}

func TestEpochs(t *testing.T) {
	epochs := Epochs{{Epoch: 0, Batch: 0, Batches: 3}, {Epoch: 2, Batch: 6, Batches: 5}, {Epoch: 3, Batch: 11, Batches: 2}}
	starts := []int64{0, 3, 6, 11, 13, 15}
	for epoch, start := range starts {
		assert.Equal(t, start, epochs.Start(int64(epoch)))
		assert.Equal(t, int64(epoch), epochs.At(start))
		assert.Equal(t, int64(epoch), epochs.At(epochs.Start(int64(epoch)+1)-1), "its last micro-batch")
	}
	assert.Equal(t, int64(5), epochs.Length(2))
	assert.Equal(t, int64(0), Epochs(nil).At(7), "not known yet")
}

func TestLargestBatches(t *testing.T) {
	samples := samplesInBuckets(0, 0, 0, 1, 0, 0, 0, 0, 1)
	for i := range samples {
		samples[i].Dataset = []string{"a", "b"}[min(i/4, 1)]
	}
	samples[3].Repeats = 3
	for _, tt := range []struct {
		name          string
		mixing        string
		a, b          int
		first, second int // of the buckets
	}{
		{"shuffled together", "", 0, 0, 6, 4},
		{"shuffled together, with a size that is not the job's", "", 2, 2, 2, 2},
		{"from one dataset each", job.MixShare, 0, 0, 4, 3},
		{"with sizes of their own", job.MixUniform, 2, 8, 4, 2},
		{"smaller than that of the job", job.MixUniform, 1, 2, 2, 1},
	} {
		j := &job.Job{BatchSize: 6, Mixing: tt.mixing, Datasets: []job.Dataset{{ID: "a", BatchSize: tt.a}, {ID: "b", BatchSize: tt.b}}}
		plan, err := PlanJob(j, samples)
		require.NoError(t, err)
		assert.Equal(t, []int{tt.first, tt.second}, []int{plan.Largest(samples[0].Bucket), plan.Largest(samples[3].Bucket)}, tt.name)
		seen := map[Size]int{}
		for c := plan.From(0); c.Position() < plan.Epochs().Length(0); {
			batch := c.Next().Samples
			seen[samples[batch[0]].Bucket] = max(seen[samples[batch[0]].Bucket], len(batch))
		}
		assert.Equal(t, map[Size]int{samples[0].Bucket: tt.first, samples[3].Bucket: tt.second}, seen, tt.name)
	}
}
