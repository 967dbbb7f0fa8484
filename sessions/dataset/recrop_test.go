package dataset

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

func TestNewCrops(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 400, 16), "a.txt": "one\ntwo", "b.png": pngBytes(t, 16, 400), "c.png": pngBytes(t, 16, 16)})
	for _, tt := range []struct {
		name    string
		dataset job.Dataset
		moves   bool
	}{
		{"square", job.Dataset{Square: true, Crop: "random", NewCrops: true}, true},
		{"several captions", job.Dataset{Square: true, Crop: "random", NewCrops: true, SplitCaptions: true}, true},
		{"mirrored", job.Dataset{Square: true, Crop: "random", NewCrops: true, FlipX: true, FlipY: true}, true},
		{"drawn aspects", job.Dataset{CropAspect: job.AspectRandom, CropAspects: []float64{0.5, 1, 2}, Crop: "random", NewCrops: true, FlipX: true}, true},
		{"not asked for", job.Dataset{Square: true, Crop: "random"}, false},
		{"not random", job.Dataset{Square: true, NewCrops: true}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			still := job.Dataset{ID: "still", Folder: dir, Resolution: 16, Square: true, Crop: "random"}
			tt.dataset.ID, tt.dataset.Folder, tt.dataset.Resolution = "d", dir, 16
			j := &job.Job{BatchSize: 1, Engine: engine.Config{Seed: 11}, Datasets: []job.Dataset{still, tt.dataset}}
			m, err := build(t, Request{Seed: 11, Datasets: j.Datasets})
			require.NoError(t, err)
			plan, err := PlanJob(j, m.Samples)
			require.NoError(t, err)
			before := append([]Sample(nil), m.Samples...)
			assert.Equal(t, m.Samples, NewCrops(j, plan, m.Samples, 0), "those of the manifest come first")
			first, second := NewCrops(j, plan, m.Samples, 1), NewCrops(j, plan, m.Samples, 2)
			assert.Equal(t, before, m.Samples, "the manifest stays")
			assert.Equal(t, first, NewCrops(j, plan, m.Samples, 1))
			assert.Equal(t, tt.moves, !assert.ObjectsAreEqual(m.Samples, first) && !assert.ObjectsAreEqual(first, second))
			for i, s := range first {
				was := m.Samples[i]
				assert.True(t, s.CropX >= 0 && s.CropX+s.Bucket.Width <= s.Resize.Width && s.CropY >= 0 && s.CropY+s.Bucket.Height <= s.Resize.Height)
				if s.Variant > 0 {
					assert.Equal(t, first[i-s.Variant].Placement, s.Placement, "captions of one picture share its crop")
				}
				if s.Dataset == "still" {
					assert.Equal(t, was, s)
				}
				s.Placement, was.Placement = Placement{Bucket: s.Bucket}, Placement{Bucket: was.Bucket}
				assert.Equal(t, was, s, "only the crop moves")
			}
		})
	}
}

// The crop of sample s in epoch e comes from G(seed*1000033 + e*2654435769 + s).
func TestNewCropsFollowTheContract(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 400, 16), "b.png": pngBytes(t, 400, 16)})
	j := &job.Job{BatchSize: 1, Engine: engine.Config{Seed: 5}, Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, Square: true, Crop: "random", NewCrops: true}}}
	m, err := build(t, Request{Seed: 5, Datasets: j.Datasets})
	require.NoError(t, err)
	plan, err := PlanJob(j, m.Samples)
	require.NoError(t, err)
	for epoch := range int64(4) {
		for i, s := range NewCrops(j, plan, m.Samples, epoch) {
			random := newGenerator(5*1000033 + uint64(epoch)*2654435769 + uint64(i))
			assert.Equal(t, []int{random.below(400 - 16 + 1), random.below(1)}, []int{s.CropX, s.CropY})
		}
	}
}

func TestOnlyDatasetsThatTakePartGetNewCrops(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 400, 16)})
	crop := job.Dataset{Folder: dir, Resolution: 16, Square: true, Crop: "random", NewCrops: true}
	first, second, third := crop, crop, crop
	first.ID, second.ID, third.ID = "first", "second", "third"
	first.EndStep, second.StartEpoch, third.StartStep = 5, 3, 4 // micro-batches: 1 1 1 3 3 2 2 …
	j := &job.Job{BatchSize: 1, Mixing: job.MixShare, Datasets: []job.Dataset{first, second, third}}
	m, err := build(t, Request{Datasets: j.Datasets})
	require.NoError(t, err)
	plan, err := PlanJob(j, m.Samples)
	require.NoError(t, err)
	for epoch := range int64(8) {
		drawn := map[int]bool{}
		for c := plan.From(plan.Epochs().Start(epoch)); c.Position() < plan.Epochs().Start(epoch+1); {
			drawn[c.Next().Samples[0]] = true
		}
		for i := range 3 {
			assert.Equal(t, drawn[i], plan.takesPart(i, epoch), "dataset %d, epoch %d", i, epoch)
			if !drawn[i] {
				assert.Equal(t, m.Samples[i], NewCrops(j, plan, m.Samples, epoch)[i])
			}
		}
	}
}
