package dataset

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// Plan orders samples into micro-batches for the whole run (rule 1 of the
// determinism contract). It is immutable.
type Plan struct {
	seed     uint64
	groups   []group
	buckets  []int        // bucket of each sample
	largest  map[Size]int // micro-batch of each bucket
	variants []int        // number of captions of each sample's picture, at its first caption
	varied   bool         // a picture has several captions
	epochs   Epochs
	end      int64 // the first micro-batch without data; forever: there is none
}

// group is samples that are shuffled together.
type group struct {
	entries   []int // one epoch in data set order: sample numbers, repeated samples several times in a row
	batchSize int
	batches   int64 // of an epoch that they take part in from its beginning to its end
	weight    float64
	part
}

// NewPlan plans micro-batches of batchSize samples of one bucket each, from all samples shuffled together.
func NewPlan(seed uint64, batchSize int, samples []Sample) (*Plan, error) {
	p, err := newPlan(seed, samples, func(*Sample) int { return 0 }, []int{batchSize})
	if err != nil {
		return nil, err
	}
	p.layOut()
	return p, nil
}

// PlanJob plans the micro-batches of a job's samples. The error is a *job.Invalid when some step would have no data.
func PlanJob(j *job.Job, samples []Sample) (*Plan, error) { return ContinueJob(j, samples, 0, 0) }

// ContinueJob is PlanJob for a run whose step number step ended before micro-batch batch, which tells where steps begin
// after their number of micro-batches has changed.
func ContinueJob(j *job.Job, samples []Sample, step, batch int64) (*Plan, error) {
	numbers, batchSizes := map[string]int{}, make([]int, len(j.Datasets))
	for i := range j.Datasets {
		batchSizes[i] = j.BatchSizeOf(&j.Datasets[i])
		if j.Mixing != "" {
			numbers[j.Datasets[i].ID] = i
		}
	}
	if j.Mixing == "" && len(batchSizes) > 1 {
		batchSizes = batchSizes[:1] // all are shuffled together, and have the same
	}
	p, err := newPlan(j.Engine.Seed, samples, func(s *Sample) int { return numbers[s.Dataset] }, batchSizes)
	if err != nil {
		return nil, err
	}
	accumulation := int64(j.Accumulation())
	if len(batchSizes) == len(j.Datasets) {
		for i := range j.Datasets {
			d, g := &j.Datasets[i], &p.groups[i]
			g.part = partOf(d, accumulation, batch-step*accumulation)
			if g.weight = d.Probability; g.weight == 0 {
				g.weight = 1
			}
			if j.Mixing == job.MixShare {
				g.weight *= float64(g.batches)
			}
		}
	}
	p.layOut()
	if last := batch + (j.End()-step)*accumulation; p.end < last {
		return nil, &job.Invalid{Problems: []job.Problem{j.NoData(p.epochs.At(p.end)+1, step+(p.end-batch)/accumulation+1)}}
	}
	return p, nil
}

// newPlan groups the samples, by the batch sizes of the groups; their epochs are not laid out yet.
func newPlan(seed uint64, samples []Sample, groupOf func(*Sample) int, batchSizes []int) (*Plan, error) {
	if len(samples) == 0 || samples[0].Variant > 0 || len(batchSizes) == 0 {
		return nil, errors.New("plan micro-batches: there are no samples")
	}
	if size := slices.Min(batchSizes); size < 1 {
		return nil, fmt.Errorf("plan micro-batches: batch size is %d, must be at least 1", size)
	}
	p := &Plan{seed: seed, groups: make([]group, len(batchSizes)), buckets: make([]int, len(samples)), largest: map[Size]int{}, variants: make([]int, len(samples))}
	numbers := map[Size]int{}
	counts := map[groupBucket]int{}
	total, first := 0, 0
	for i := range samples {
		s := &samples[i]
		if s.Variant > 0 {
			p.variants[first]++
			p.varied = true
			continue
		}
		first, p.variants[i] = i, 1
		bucket, ok := numbers[s.Bucket]
		if !ok {
			bucket = len(numbers)
			numbers[s.Bucket] = bucket
		}
		p.buckets[i] = bucket
		repeats := max(s.Repeats, 1)
		if total += repeats; total > maxEntries {
			return nil, fmt.Errorf("plan micro-batches: an epoch has more than %d samples; lower the repeats", maxEntries)
		}
		g := groupOf(s)
		for range repeats {
			p.groups[g].entries = append(p.groups[g].entries, i)
		}
		counts[groupBucket{g, s.Bucket}] += repeats
	}
	for i := range p.groups {
		p.groups[i].batchSize, p.groups[i].part = batchSizes[i], always
	}
	for key, n := range counts {
		g := &p.groups[key.group]
		g.batches += int64((n + g.batchSize - 1) / g.batchSize)
		p.largest[key.bucket] = max(p.largest[key.bucket], min(n, g.batchSize))
	}
	return p, nil
}

type groupBucket struct {
	group  int
	bucket Size
}

// Largest is the number of samples of the largest micro-batch of a bucket.
func (p *Plan) Largest(bucket Size) int { return p.largest[bucket] }

// maxEntries bounds an epoch; torch.randperm draws differently above it.
const maxEntries = math.MaxUint32 / 20

// Epochs are the epochs of the run.
func (p *Plan) Epochs() Epochs { return p.epochs }

// Batches is the number of micro-batches after which no dataset takes part any more; ok tells whether there is such an end.
func (p *Plan) Batches() (n int64, ok bool) { return p.end, p.end != forever }

// From returns a cursor whose first micro-batch is number k >= 0 of the run.
func (p *Plan) From(k int64) *Cursor {
	return &Cursor{plan: p, next: max(k, 0), epoch: -1}
}

// Cursor walks over micro-batches. It keeps one epoch in memory.
type Cursor struct {
	plan    *Plan
	next    int64
	epoch   int64 // whose micro-batches are in batches; -1: none yet
	first   int64 // micro-batch of the epoch
	batches [][]int
}

// Next returns the next micro-batch; after the end of the data it has no samples. The samples must not be changed.
func (c *Cursor) Next() engine.Batch {
	if epoch := c.plan.epochs.At(c.next); epoch != c.epoch {
		c.first = c.plan.epochs.Start(epoch)
		c.batches = c.plan.epochBatches(epoch, c.first)
		c.epoch = epoch
	}
	batch := engine.Batch{Index: c.next}
	if i := c.next - c.first; c.next < c.plan.end && i < int64(len(c.batches)) {
		batch.Samples = c.batches[i]
	}
	c.next++
	return batch
}

// Position is the number of the micro-batch that Next returns.
func (c *Cursor) Position() int64 { return c.next }

// epochBatches orders the micro-batches of an epoch, whose first one is number first.
func (p *Plan) epochBatches(epoch, first int64) [][]int {
	var batches [][]int
	if len(p.groups) == 1 {
		batches = p.shuffled(&p.groups[0], orderGenerator(p.seed, epoch))
	} else {
		queues := make([][][]int, len(p.groups))
		for i := range p.groups {
			queues[i] = p.shuffled(&p.groups[i], mixGenerator(p.seed, epoch, i))
		}
		p.draw(epoch, first, func(group int) {
			batches = append(batches, queues[group][0])
			queues[group] = queues[group][1:]
		})
	}
	p.drawCaptions(epoch, batches)
	return batches
}

// shuffled walks a random permutation of a group: each sample joins the
// open micro-batch of its bucket, a full one is emitted at once, and the
// partly filled ones follow at the end in the order in which they were opened.
func (p *Plan) shuffled(g *group, random *generator) [][]int {
	batches := make([][]int, 0, g.batches)
	open := map[int][]int{} // by bucket
	var opened []int        // buckets with an open micro-batch, oldest first; full ones are removed
	for _, entry := range random.permutation(len(g.entries)) {
		sample := g.entries[entry]
		bucket := p.buckets[sample]
		batch := append(open[bucket], sample)
		if len(batch) == 1 {
			opened = append(opened, bucket)
		}
		if len(batch) < g.batchSize {
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

// drawCaptions replaces samples whose pictures have several captions by the sample with one of them.
func (p *Plan) drawCaptions(epoch int64, batches [][]int) {
	if !p.varied {
		return
	}
	random := mixGenerator(p.seed, epoch, len(p.groups)+1)
	for _, batch := range batches {
		for i, sample := range batch {
			if n := p.variants[sample]; n > 1 {
				batch[i] = sample + random.below(n)
			}
		}
	}
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
