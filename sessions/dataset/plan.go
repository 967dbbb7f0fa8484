package dataset

import (
	"errors"
	"fmt"
	"math"

	"github.com/stepd/stepd/sessions/engine"
)

// Plan orders samples into micro-batches for the whole run (rule 1 of the
// determinism contract). It is immutable.
type Plan struct {
	seed      uint64
	batchSize int
	entries   []int // one epoch in data set order: sample numbers, repeated samples several times in a row
	buckets   []int // bucket of each sample
	perEpoch  int64
}

// NewPlan plans micro-batches of batchSize samples of one bucket each.
func NewPlan(seed uint64, batchSize int, samples []Sample) (*Plan, error) {
	if batchSize < 1 {
		return nil, fmt.Errorf("plan micro-batches: batch size is %d, must be at least 1", batchSize)
	}
	if len(samples) == 0 {
		return nil, errors.New("plan micro-batches: there are no samples")
	}
	p := &Plan{seed: seed, batchSize: batchSize, buckets: make([]int, len(samples))}
	numbers := map[Size]int{}
	var counts []int64
	for i := range samples {
		s := &samples[i]
		bucket, ok := numbers[s.Bucket]
		if !ok {
			bucket = len(counts)
			numbers[s.Bucket] = bucket
			counts = append(counts, 0)
		}
		p.buckets[i] = bucket
		repeats := max(s.Repeats, 1)
		if len(p.entries)+repeats > maxEntries {
			return nil, fmt.Errorf("plan micro-batches: an epoch has more than %d samples; lower the repeats", maxEntries)
		}
		for range repeats {
			p.entries = append(p.entries, i)
		}
		counts[bucket] += int64(repeats)
	}
	for _, n := range counts {
		p.perEpoch += (n + int64(batchSize) - 1) / int64(batchSize)
	}
	return p, nil
}

// maxEntries bounds an epoch; torch.randperm draws differently above it.
const maxEntries = math.MaxUint32 / 20

// EpochSamples is the number of samples of an epoch, repeats included.
func (p *Plan) EpochSamples() int { return len(p.entries) }

// BatchesPerEpoch is the number of micro-batches of every epoch.
func (p *Plan) BatchesPerEpoch() int64 { return p.perEpoch }

// Epoch is the epoch, from 0, of micro-batch k.
func (p *Plan) Epoch(k int64) int64 { return k / p.perEpoch }

// From returns a cursor whose first micro-batch is number k >= 0 of the run.
func (p *Plan) From(k int64) *Cursor {
	return &Cursor{plan: p, next: max(k, 0), epoch: -1}
}

// Cursor walks over micro-batches. It keeps one epoch in memory.
type Cursor struct {
	plan    *Plan
	next    int64
	epoch   int64 // whose micro-batches are in batches; -1: none yet
	batches [][]int
}

// Next returns the next micro-batch. There is always one: epochs follow each
// other without end. The samples must not be changed.
func (c *Cursor) Next() engine.Batch {
	if epoch := c.plan.Epoch(c.next); epoch != c.epoch {
		c.batches = c.plan.epochBatches(epoch)
		c.epoch = epoch
	}
	k := c.next
	c.next++
	return engine.Batch{Index: k, Samples: c.batches[k%c.plan.perEpoch]}
}

// Position is the number of the micro-batch that Next returns.
func (c *Cursor) Position() int64 { return c.next }

// epochBatches walks a random permutation of the epoch: each sample joins the
// open micro-batch of its bucket, a full one is emitted at once, and the
// partly filled ones follow at the end in the order in which they were opened.
func (p *Plan) epochBatches(epoch int64) [][]int {
	batches := make([][]int, 0, p.perEpoch)
	open := map[int][]int{} // by bucket
	var opened []int        // buckets with an open micro-batch, oldest first; full ones are removed
	for _, entry := range orderGenerator(p.seed, epoch).permutation(len(p.entries)) {
		sample := p.entries[entry]
		bucket := p.buckets[sample]
		batch := append(open[bucket], sample)
		if len(batch) == 1 {
			opened = append(opened, bucket)
		}
		if len(batch) < p.batchSize {
			open[bucket] = batch
			continue
		}
		batches = append(batches, batch)
		delete(open, bucket)
		opened = remove(opened, bucket)
	}
	for _, bucket := range opened {
		batches = append(batches, open[bucket])
	}
	return batches
}

// remove takes the only occurrence of value out of list.
func remove(list []int, value int) []int {
	for i, v := range list {
		if v == value {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
