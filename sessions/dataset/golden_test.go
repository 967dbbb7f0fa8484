package dataset

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// The files in testdata hold what PyTorch and Pillow programs give for the rules of docs/determinism.md.
func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

func TestGeneratorMatchesTorch(t *testing.T) {
	var golden struct {
		Randperm []struct {
			Seed  uint64
			Order []int
		}
		Randint []struct {
			Seed   uint64
			Below  int
			Values []int
		}
	}
	readGolden(t, "torch_integers.json", &golden)
	require.NotEmpty(t, golden.Randperm)
	require.NotEmpty(t, golden.Randint)
	for _, g := range golden.Randperm {
		assert.Equal(t, g.Order, newGenerator(g.Seed).permutation(len(g.Order)), "seed %d", g.Seed)
	}
	for _, g := range golden.Randint {
		generator := newGenerator(g.Seed)
		for i, want := range g.Values {
			require.Equal(t, want, generator.below(g.Below), "seed %d, draw %d", g.Seed, i)
		}
	}
}

func TestAugmentationStream(t *testing.T) {
	var golden []struct {
		Seed          uint64
		Epoch         int64
		Sample        int
		Below, Values []int
	}
	readGolden(t, "augmentation.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		generator := augmentationGenerator(g.Seed, g.Epoch, g.Sample)
		for i, n := range g.Below {
			assert.Equal(t, g.Values[i], generator.below(n), "%+v", g)
		}
	}
}

func TestPlanMatchesTorch(t *testing.T) {
	var golden []struct {
		Seed    uint64
		Batch   int
		Buckets []int
		Epochs  [][][]int
	}
	readGolden(t, "plans.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		plan, err := NewPlan(g.Seed, g.Batch, samplesInBuckets(g.Buckets...))
		require.NoError(t, err)
		cursor := plan.From(0)
		for epoch, batches := range g.Epochs {
			require.Equal(t, int64(len(batches)), plan.Epochs().Length(int64(epoch)))
			for _, want := range batches {
				require.Equal(t, int64(epoch), plan.Epochs().At(cursor.Position()))
				require.Equal(t, want, cursor.Next().Samples)
			}
		}
	}
}

func TestMixedPlansMatchTorch(t *testing.T) {
	var golden []struct {
		Seed          uint64
		Batch         int
		Mixing        string
		Probabilities []float64
		Samples       []struct{ Dataset, Bucket, Repeats, Variant int }
		Epochs        [][][]int
	}
	readGolden(t, "mixed_plans.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		j := &job.Job{Mixing: g.Mixing, BatchSize: g.Batch, Engine: engine.Config{Seed: g.Seed}}
		for i, probability := range g.Probabilities {
			j.Datasets = append(j.Datasets, job.Dataset{ID: fmt.Sprint(i), Probability: probability})
		}
		var samples []Sample
		for _, s := range g.Samples {
			samples = append(samples, Sample{Dataset: fmt.Sprint(s.Dataset), Repeats: s.Repeats, Variant: s.Variant,
				Placement: Placement{Bucket: Size{8 * (s.Bucket + 1), 8}}})
		}
		plan, err := PlanJob(j, samples)
		require.NoError(t, err)
		cursor := plan.From(0)
		for epoch, batches := range g.Epochs {
			require.Equal(t, int64(len(batches)), plan.Epochs().Length(int64(epoch)))
			for _, want := range batches {
				require.Equal(t, int64(epoch), plan.Epochs().At(cursor.Position()))
				require.Equal(t, want, cursor.Next().Samples, "seed %d, mixing %q", g.Seed, g.Mixing)
			}
		}
	}
}

func TestScheduledPlansMatchTorch(t *testing.T) {
	var golden []struct {
		Seed         uint64
		Batch        int
		Accumulation int
		Mixing       string
		Datasets     []job.Dataset
		Samples      []struct{ Dataset, Bucket, Repeats int }
		Epochs       [][][]int
		End          int64 // the first micro-batch without data; -1: none
	}
	readGolden(t, "scheduled_plans.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		j := &job.Job{Mixing: g.Mixing, BatchSize: g.Batch, Datasets: g.Datasets, Engine: engine.Config{Seed: g.Seed, Accumulation: g.Accumulation}}
		for i := range j.Datasets {
			j.Datasets[i].ID = fmt.Sprint(i)
		}
		var samples []Sample
		for _, s := range g.Samples {
			samples = append(samples, Sample{Dataset: fmt.Sprint(s.Dataset), Repeats: s.Repeats, Placement: Placement{Bucket: Size{8 * (s.Bucket + 1), 8}}})
		}
		plan, err := PlanJob(j, samples)
		require.NoError(t, err)
		end, ends := plan.Batches()
		require.Equal(t, g.End >= 0, ends)
		if ends {
			require.Equal(t, g.End, end)
			assert.Empty(t, plan.From(end).Next().Samples, "after the end")
			assertEndIsRefused(t, j, samples, end)
		}
		cursor := plan.From(0)
		for epoch, batches := range g.Epochs {
			require.Equal(t, int64(len(batches)), plan.Epochs().Length(int64(epoch)), "%+v, epoch %d", g.Datasets, epoch)
			require.Equal(t, cursor.Position(), plan.Epochs().Start(int64(epoch)))
			for _, want := range batches {
				require.Equal(t, int64(epoch), plan.Epochs().At(cursor.Position()))
				require.Equal(t, want, plan.From(cursor.Position()).Next().Samples, "a plan continues anywhere")
				require.Equal(t, want, cursor.Next().Samples, "%+v, epoch %d", g.Datasets, epoch)
			}
		}
	}
}

// assertEndIsRefused plans as many steps as there is data for, and one more.
func assertEndIsRefused(t *testing.T, j *job.Job, samples []Sample, end int64) {
	t.Helper()
	j.Steps = end / int64(j.Accumulation())
	_, err := PlanJob(j, samples)
	require.NoError(t, err)
	j.Steps++
	_, err = PlanJob(j, samples)
	var invalid *job.Invalid
	require.ErrorAs(t, err, &invalid)
	assert.Contains(t, invalid.Problems[0].Message, fmt.Sprintf("no dataset takes part in step %d", j.Steps))
}

func TestCoverAndCrop(t *testing.T) {
	var golden []struct {
		Picture Size
		Crop    string
		Seed    uint64
		Placement
	}
	readGolden(t, "cover_crop.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		p := Placement{Bucket: g.Bucket, Resize: resized(g.Picture, g.Bucket, coverScale(g.Picture, g.Bucket))}
		rule := geometry{dataset: &job.Dataset{Crop: g.Crop}}
		rule.crop(&p, func() *generator { return newGenerator(g.Seed) })
		assert.Equal(t, g.Placement, p, "picture %v", g.Picture)
	}
}

func TestBuckets(t *testing.T) {
	var golden []struct {
		Style      string
		Type       string
		Resolution float64
		Step       int
		Square     bool
		Pictures   [][2]int
		Buckets    [][2]int
	}
	readGolden(t, "buckets.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		rule, err := newGeometry(&job.Dataset{
			BucketStyle: g.Style, ResolutionType: g.Type, Resolution: g.Resolution, BucketStep: g.Step, Square: g.Square,
		}, 0)
		require.NoError(t, err)
		for i, picture := range g.Pictures {
			p, reason := rule.place(Size{picture[0], picture[1]}, nil)
			require.Empty(t, reason)
			want := Size{g.Buckets[i][0], g.Buckets[i][1]}
			require.Equal(t, want, p.Bucket, "%s %s %v step %d: picture %v", g.Style, g.Type, g.Resolution, g.Step, picture)
			require.GreaterOrEqual(t, p.Resize.Width, p.Bucket.Width)
			require.GreaterOrEqual(t, p.Resize.Height, p.Bucket.Height)
		}
	}
}
