package dataset

import (
	"math"
	"sort"

	"github.com/stepd/stepd/sessions/job"
)

// Span is epochs that follow each other and have the same number of micro-batches.
type Span struct {
	Epoch   int64 `json:"epoch"`   // the first, from 0
	Batch   int64 `json:"batch"`   // the first micro-batch of that
	Batches int64 `json:"batches"` // of each epoch
}

// Epochs are the spans of a run, in order; the last one has no end. There are several where datasets take part in some
// epochs or steps only. No spans at all stand for a run whose data are not known yet.
type Epochs []Span

// At is the epoch, from 0, of a micro-batch.
func (e Epochs) At(batch int64) int64 {
	if len(e) == 0 {
		return 0
	}
	s := e[max(sort.Search(len(e), func(i int) bool { return e[i].Batch > batch })-1, 0)]
	return s.Epoch + (batch-s.Batch)/s.Batches
}

// Start is the first micro-batch of an epoch.
func (e Epochs) Start(epoch int64) int64 {
	if len(e) == 0 {
		return 0
	}
	s := e[max(sort.Search(len(e), func(i int) bool { return e[i].Epoch > epoch })-1, 0)]
	return s.Batch + (epoch-s.Epoch)*s.Batches
}

// Length is the number of micro-batches of an epoch.
func (e Epochs) Length(epoch int64) int64 { return e.Start(epoch+1) - e.Start(epoch) }

// forever is an epoch or micro-batch that no run reaches.
const forever = math.MaxInt64 / 2

// part is when a group takes part: from the first epoch and micro-batch to before the end ones, all from 0.
type part struct {
	firstEpoch, endEpoch int64
	firstBatch, endBatch int64
}

var always = part{endEpoch: forever, endBatch: forever}

// partOf turns the steps of a dataset into micro-batches; step s is those from (s-1)*accumulation + shift on.
func partOf(d *job.Dataset, accumulation, shift int64) part {
	p := always
	p.firstEpoch = max(d.StartEpoch-1, 0)
	if d.EndEpoch > 0 {
		p.endEpoch = d.EndEpoch
	}
	if d.StartStep > 1 {
		p.firstBatch = (d.StartStep-1)*accumulation + shift
	}
	if d.EndStep > 0 {
		p.endBatch = d.EndStep*accumulation + shift
	}
	return p
}

func (p part) holds(epoch, batch int64) bool {
	return epoch >= p.firstEpoch && epoch < p.endEpoch && batch >= p.firstBatch && batch < p.endBatch
}

// layOut finds the epochs of the run, and where its data end.
func (p *Plan) layOut() {
	p.epochs, p.end = nil, forever
	epoch, batch := int64(0), int64(0)
	for {
		batches := int64(0)
		for i := range p.groups {
			if g := &p.groups[i]; g.holds(epoch, batch) {
				batches += g.batches
			}
		}
		if batches == 0 {
			p.end = batch
			return
		}
		nextEpoch, nextBatch := p.nextChange(epoch, batch)
		count := min(nextEpoch-epoch, (nextBatch-batch)/batches)
		if count == 0 { // datasets come or leave within the epoch
			batches, count = 0, 1
			p.draw(epoch, batch, func(int) { batches++ })
		}
		p.epochs = append(p.epochs, Span{Epoch: epoch, Batch: batch, Batches: batches})
		if nextEpoch == forever && nextBatch == forever {
			return
		}
		epoch += count
		batch += count * batches
	}
}

// nextChange is the first epoch, and the first micro-batch, after the given ones at which a group comes or leaves.
func (p *Plan) nextChange(epoch, batch int64) (nextEpoch, nextBatch int64) {
	nextEpoch, nextBatch = forever, forever
	for i := range p.groups {
		g := &p.groups[i]
		for _, change := range []int64{g.firstEpoch, g.endEpoch} {
			if change > epoch {
				nextEpoch = min(nextEpoch, change)
			}
		}
		for _, change := range []int64{g.firstBatch, g.endBatch} {
			if change > batch {
				nextBatch = min(nextBatch, change)
			}
		}
	}
	return nextEpoch, nextBatch
}

// draw names the group of each micro-batch of an epoch, whose first one is batch: by weight, among those that take part
// and have one left. The epoch ends when there is none, which a group that comes with the next micro-batch cannot change.
func (p *Plan) draw(epoch, batch int64, take func(group int)) {
	random := mixGenerator(p.seed, epoch, len(p.groups))
	left := make([]int64, len(p.groups))
	for i := range p.groups {
		left[i] = p.groups[i].batches
	}
	able := func(i int) bool { return left[i] > 0 && p.groups[i].holds(epoch, batch) }
	for {
		total, last := 0.0, -1
		for i := range p.groups {
			if able(i) {
				total += p.groups[i].weight
				last = i
			}
		}
		if last < 0 {
			return
		}
		point, chosen := random.uniform()*total, last
		for i := range last {
			if !able(i) {
				continue
			}
			if point -= p.groups[i].weight; point < 0 {
				chosen = i
				break
			}
		}
		take(chosen)
		left[chosen]--
		if !anyOf(len(left), able) {
			return
		}
		batch++
	}
}

func anyOf(n int, is func(int) bool) bool {
	for i := range n {
		if is(i) {
			return true
		}
	}
	return false
}
