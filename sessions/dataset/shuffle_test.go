package dataset

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// testdata/shuffles.json holds what Python's random.Random gives.
func TestShufflesMatchPython(t *testing.T) {
	var golden []struct {
		job.CaptionShuffle
		Caption string   `json:"caption"`
		Want    []string `json:"want"`
	}
	readGolden(t, "shuffles.json", &golden)
	require.NotEmpty(t, golden)
	for _, g := range golden {
		assert.Equal(t, g.Want, shuffle(&g.CaptionShuffle, g.Caption), "%+v", g)
	}
}

func TestShuffledCaptions(t *testing.T) {
	picture := pngBytes(t, 16, 16)
	dir := writeFolder(t, map[string]string{"a.png": picture, "a.txt": "a, b, c\nx, y", "b.png": picture, "b.txt": "alone", "c.png": picture})
	shuffle := &job.CaptionShuffle{Count: 4, Seed: 3, SplitOn: job.SplitComma, WithOriginal: true}
	m, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, SplitCaptions: true, Shuffle: shuffle, CaptionPrefix: "sks", CaptionFilters: []string{"z"}}}})
	require.NoError(t, err)
	assert.Equal(t, []string{"sks a, b, c", "sks c, b, a", "sks x, y", "sks y, x", "sks alone", "sks"}, captions(m))
	plan, err := NewPlan(1, 1, m.Samples)
	require.NoError(t, err)
	assert.Equal(t, int64(3), plan.Epochs().Length(0), "a picture counts once, whatever its captions")
	again, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, SplitCaptions: true, Shuffle: shuffle, CaptionPrefix: "sks", CaptionFilters: []string{"z"}}}})
	require.NoError(t, err)
	assert.Equal(t, m, again)
}
