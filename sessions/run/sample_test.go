package run

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

// simpleTuner is a job in the style of SimpleTuner with two prompts, one of them in two sizes.
func simpleTuner(t *testing.T, dir string) *job.Job {
	j := fixture.Job(t, dir)
	j.Save.Style = job.StyleSimpleTuner
	prompt := job.Prompt{Text: "a cat", Name: "cat", Width: 64, Height: 64, Steps: 6, Guidance: 3, Seed: 7}
	wide, dog := prompt, prompt
	wide.Width = 128
	dog.Text, dog.Name = "a dog", "dog"
	j.Sampling = job.Sampling{Prompts: []job.Prompt{prompt, wide, dog}}
	return j
}

func TestPicturesAreNamedAsSimpleTunerDoes(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling.Every, j.Steps = 10, 15
	r, _, err := whole(t, j)
	require.NoError(t, err)
	var names []string
	for _, sample := range r.samples {
		assert.Equal(t, filepath.Join(j.RunDir(), "validation_images"), filepath.Dir(sample.Path))
		assert.FileExists(t, sample.Path)
		names = append(names, filepath.Base(sample.Path))
	}
	assert.Equal(t, []string{"step_10_cat_0_64x64.png", "step_10_cat_1_128x64.png", "step_10_dog_0_64x64.png"}, names)
}

func TestPreviewsAreFilesAndReports(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling.Every, j.Sampling.Preview, j.Steps = 10, 4, 15
	r, _, err := whole(t, j)
	require.NoError(t, err)
	require.Len(t, r.previews, 9)
	for i, preview := range r.previews {
		assert.Equal(t, int64(10), preview.Step)
		assert.Equal(t, i/3, preview.Index)
		assert.Equal(t, []int{1, 5, 6}[i%3], preview.SamplingStep)
		assert.Equal(t, 6, preview.SamplingSteps)
		assert.Equal(t, j.Sampling.Prompts[i/3], preview.Prompt)
		assert.FileExists(t, preview.Path)
	}
	assert.Equal(t, filepath.Join(j.RunDir(), "validation_images", "previews", "step_10_cat_0_64x64_5.png"), r.previews[1].Path)
}

func TestPreviewsThatEndCostNoPicture(t *testing.T) {
	j := fixture.Faults(simpleTuner(t, t.TempDir()), fake.Faults{PreviewEnds: 5})
	j.Sampling.Every, j.Sampling.Preview = 5, 4
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Len(t, r.previews, 1, "step 1 of the first picture")
	assert.Len(t, r.samples, 12)
	require.Len(t, r.warnings, 1)
	assert.Contains(t, r.warnings[0], "no previews from now on: preview: ordered to end")
}

func TestPreviewsThatFailAreSwitchedOff(t *testing.T) {
	j := fixture.Faults(simpleTuner(t, t.TempDir()), fake.Faults{PreviewCode: engine.Unsupported})
	j.Sampling.Every, j.Sampling.Preview = 5, 4
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.NoError(t, r.sampleErr)
	assert.Empty(t, r.previews)
	assert.Len(t, r.samples, 12)
	require.Len(t, r.warnings, 1)
	assert.Contains(t, r.warnings[0], "no previews")
}

// The pictures of a step are made after its checkpoint, so a run can be killed in between.
func TestPicturesThatAKillPreventedAreMadeByTheNextRun(t *testing.T) {
	for _, end := range []bool{false, true} {
		j := simpleTuner(t, t.TempDir())
		j.Sampling.Every, j.Save.Every = 10, 10
		if end {
			j.Sampling.Every, j.Sampling.Last, j.Steps = 0, true, 10
		}
		killed := *j
		killed.Sampling, killed.Steps = job.Sampling{}, 20
		stopAt(t, &killed, 10)
		r, outcome, err := whole(t, j)
		require.NoError(t, err)
		assert.Equal(t, Completed, outcome)
		if end {
			assert.Equal(t, []int64{10}, r.sampledSteps())
		} else {
			assert.Equal(t, []int64{10, 20}, r.sampledSteps())
		}
		r, _, err = whole(t, j)
		require.NoError(t, err)
		assert.Empty(t, r.samples, "they are there")
	}
}

func TestPicturesOfAnEpochThatAKillPreventedAreMadeByTheNextRun(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Sampling.Every, j.Sampling.EveryEpochs, j.Steps = 0, 2, 11 // three micro-batches are an epoch, two a step
	killed := *j
	killed.Sampling = job.Sampling{}
	stopAt(t, &killed, 9)
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Equal(t, []int64{9}, r.sampledSteps())
	for first, want := range map[int64]bool{0: false, 2: false, 5: false, 6: true, 7: true, 8: false, 12: true} {
		ready := Ready{FirstBatch: first, Epochs: dataset.Epochs{{Batches: 3}}, Accumulation: 2}
		assert.Equal(t, want, ready.followsEpochs(2), "micro-batch %d", first)
	}
}

func TestPreviewsStayOnWhenTheyAreNotTheCause(t *testing.T) {
	j := fixture.Faults(simpleTuner(t, t.TempDir()), fake.Faults{SampleCode: engine.DeviceOOM})
	j.Sampling.Every, j.Sampling.Preview = 10, 4
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Error(t, r.sampleErr)
	assert.Empty(t, r.warnings)
}
