package run

import (
	"image"
	_ "image/png" // sheets
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

func TestSampleNamesAreParsedInEveryStyle(t *testing.T) {
	for _, style := range []string{job.StyleAIToolkit, job.StyleSimpleTuner, job.StyleFolders, ""} {
		for _, name := range []string{"", "cat_2"} {
			p := job.Prompt{Name: name, Width: 64, Height: 32}
			label := name
			if name == "" {
				label = "3"
			}
			first, firstKey, ok := parseSampleName(style, sampleStem(style, time.UnixMilli(1763700000000), 10, 3, label, 1, p)+".png")
			require.True(t, ok, style)
			second, secondKey, ok := parseSampleName(style, sampleStem(style, time.UnixMilli(1763700001000), 1234567890, 3, label, 1, p)+".png")
			require.True(t, ok, style)
			assert.Equal(t, []int64{10, 1234567890}, []int64{first, second})
			assert.Equal(t, firstKey, secondKey)
			_, other, ok := parseSampleName(style, sampleStem(style, time.UnixMilli(1763700000000), 10, 4, label+"x", 1, p)+".png")
			assert.True(t, ok && other != firstKey, style)
		}
		_, _, ok := parseSampleName(style, "contact-sheet.png")
		assert.False(t, ok)
	}
}

func TestAContactSheetShowsTheWholeRun(t *testing.T) {
	for _, style := range []string{job.StyleAIToolkit, job.StyleSimpleTuner, job.StyleFolders} {
		dir := t.TempDir()
		j := simpleTuner(t, dir)
		j.Save.Style, j.Sampling.Every, j.Sampling.First = style, 5, true
		stopAt(t, j, 12) // samples of steps 0, 5 and 10
		_, rows, err := sheetRows(j, nil)
		require.NoError(t, err)
		assert.Empty(t, rows)
		r, _, err := whole(t, j) // of steps 15 and 20
		require.NoError(t, err)
		assert.Empty(t, r.warnings)
		file, err := os.Open(ContactSheet(j))
		require.NoError(t, err)
		sheet, _, err := image.DecodeConfig(file)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		assert.Equal(t, 108+3*120+8, sheet.Width, "three pictures")
		assert.Equal(t, 44+5*120+8, sheet.Height, "five steps")
		assert.Contains(t, strings.Join(r.logs, "\n"), "contact sheet of the samples: "+ContactSheet(j))
	}
}

func TestAContactSheetIsOnlyMadeWhereThereAreSamples(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	_, _, err := whole(t, j)
	require.NoError(t, err)
	assert.NoFileExists(t, ContactSheet(j))
}

func TestSpreadKeepsTheEnds(t *testing.T) {
	pictures := map[int64][]string{}
	for step := range int64(1000) {
		pictures[step*10] = nil
	}
	steps := spread(pictures)
	require.Len(t, steps, maxSheetRows)
	assert.Equal(t, int64(0), steps[0])
	assert.Equal(t, int64(9990), steps[len(steps)-1])
}

func TestSeveralPicturesOfAPromptAndBothWeights(t *testing.T) {
	j := simpleTuner(t, t.TempDir())
	j.Engine.EMA = &engine.EMA{Decay: 0.9}
	j.Sampling.Prompts = j.Sampling.Prompts[:2] // one name, two sizes
	j.Sampling.Prompts[0].Count = 2
	j.Sampling.Weights, j.Sampling.Last = job.SampleBoth, true
	r, _, err := whole(t, j)
	require.NoError(t, err)
	var names []string
	for i, sample := range r.samples {
		assert.Equal(t, i, sample.Index)
		names = append(names, filepath.Base(sample.Path))
	}
	assert.Equal(t, []string{"step_20_cat_0_64x64.png", "step_20_cat_ema_0_64x64.png", "step_20_cat_1_64x64.png", "step_20_cat_ema_1_64x64.png",
		"step_20_cat_2_128x64.png", "step_20_cat_ema_2_128x64.png"}, names)

	run := &run{job: j, data: &data{}}
	for weights, want := range map[string][]bool{"": {true}, job.SampleAveraged: {true}, job.SampleTrained: {false}, job.SampleBoth: {false, true}} {
		j.Sampling.Weights = weights
		assert.Equal(t, want, run.weightsOfSamples(), weights)
	}
	j.Engine.EMA = nil
	assert.Equal(t, []bool{false}, run.weightsOfSamples())
}
