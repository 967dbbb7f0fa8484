package dataset

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

func TestCaptionsOfLines(t *testing.T) {
	picture := pngBytes(t, 16, 16)
	dir := writeFolder(t, map[string]string{
		"a.png": picture, "a.txt": "one\n\n  two \r\nthree", "b.png": picture, "b.txt": "bad only", "c.png": picture, "c.txt": "\n \n",
	})
	for _, tt := range []struct {
		name     string
		dataset  job.Dataset
		want     []string
		filtered int
	}{
		{"split", job.Dataset{SplitCaptions: true}, []string{"one", "two", "three", "bad only", ""}, 0},
		{"not split", job.Dataset{}, []string{"one\n\n  two \r\nthree", "bad only", ""}, 0},
		{"dropped", job.Dataset{SplitCaptions: true, DropUncaptioned: true}, []string{"one", "two", "three", "bad only"}, 1},
		{"prefix", job.Dataset{SplitCaptions: true, CaptionPrefix: "a photo,"}, []string{"a photo, one", "a photo, two", "a photo, three", "a photo, bad only", "a photo,"}, 0},
		{"filters", job.Dataset{SplitCaptions: true, CaptionFilters: []string{"bad ", "s/^t(wo|hree)$/few/"}}, []string{"one", "few", "few", "only", ""}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.dataset.ID, tt.dataset.Resolution, tt.dataset.Folder = "d", 16, dir
			m, err := build(t, Request{Datasets: []job.Dataset{tt.dataset}})
			require.NoError(t, err)
			assert.Equal(t, tt.want, captions(m))
			assert.Len(t, m.Filtered, tt.filtered)
		})
	}
	m, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, SplitCaptions: true, Repeats: 4}}})
	require.NoError(t, err)
	assert.Equal(t, []string{"d/a.png", "d/a.png (caption 2)", "d/a.png (caption 3)", "d/b.png", "d/c.png"}, names(m))
	plan, err := NewPlan(3, 2, m.Samples)
	require.NoError(t, err)
	assert.Equal(t, int64(6), plan.Epochs().Length(0), "a picture counts once, whatever its captions")
	used := map[int]bool{}
	for cursor := plan.From(0); cursor.Position() < 4*plan.Epochs().Length(0); {
		for _, sample := range cursor.Next().Samples {
			used[sample] = true
		}
	}
	assert.Len(t, used, 5, "every caption is drawn at some time")
}

func TestAspectLimits(t *testing.T) {
	dir := writeFolder(t, map[string]string{"wide.png": pngBytes(t, 60, 20), "square.png": pngBytes(t, 30, 30), "tall.png": pngBytes(t, 20, 60)})
	for _, tt := range []struct {
		low, high float64
		want      []string
		reason    string
	}{
		{0.9, 0, []string{"d/square.png", "d/wide.png"}, "tall.png: the aspect ratio of 20x60 is below minimum_aspect 0.9"},
		{0, 1, []string{"d/square.png", "d/tall.png"}, "wide.png: the aspect ratio of 60x20 is above maximum_aspect 1"},
	} {
		m, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, MinimumAspect: tt.low, MaximumAspect: tt.high}}})
		require.NoError(t, err)
		assert.Equal(t, tt.want, names(m))
		assert.Equal(t, []string{tt.reason}, reasons(m.Filtered))
	}
}

func TestCropAspects(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 640, 256), "b.png": pngBytes(t, 256, 256), "c.png": pngBytes(t, 200, 256)})
	d := job.Dataset{ID: "d", Folder: dir, Resolution: 128, ResolutionType: job.ResolutionArea, BucketStep: 16, CropAspects: []float64{2, 0.5, 1}, CropAspect: job.AspectClosest}
	m, err := build(t, Request{Datasets: []job.Dataset{d}})
	require.NoError(t, err)
	assert.Equal(t, []Size{{176, 96}, {128, 128}, {128, 128}}, []Size{m.Samples[0].Bucket, m.Samples[1].Bucket, m.Samples[2].Bucket})

	d.CropAspect, d.Crop = job.AspectRandom, "random"
	m, err = build(t, Request{Seed: 9, Datasets: []job.Dataset{d}})
	require.NoError(t, err)
	for s, sample := range m.Samples {
		draw := augmentationGenerator(9, 0, s)
		bucket := []Size{{176, 96}, {96, 176}, {128, 128}}[draw.below(3)]
		require.Equal(t, bucket, sample.Bucket)
		require.Equal(t, draw.below(sample.Resize.Width-bucket.Width+1), sample.CropX, "the crop is drawn after the aspect ratio")
	}

	d.ResolutionType, d.CropAspects, d.CropAspect = job.ResolutionPixel, []float64{0.5}, job.AspectClosest
	m, err = build(t, Request{Datasets: []job.Dataset{d}})
	require.NoError(t, err)
	assert.Equal(t, []Size{{128, 256}}, m.Buckets())
}

func TestMaxSamples(t *testing.T) {
	files := map[string]string{"tiny.png": pngBytes(t, 4, 4)}
	for _, name := range []string{"0", "1", "2", "3", "4", "5", "6", "7"} {
		files[name+".png"] = pngBytes(t, 16, 16)
	}
	dir := writeFolder(t, files)
	m, err := build(t, Request{Seed: 11, Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, MinimumSize: 8, MaxSamples: 3}}})
	require.NoError(t, err)
	var want []string
	chosen := newGenerator(11).permutation(8)[:3]
	for i := range 8 {
		for _, k := range chosen {
			if k == i {
				want = append(want, "d/"+string(rune('0'+i))+".png")
			}
		}
	}
	assert.Equal(t, want, names(m))
	assert.Len(t, m.Filtered, 1, "small pictures are no candidates")
}

func TestCountOnlyCountsTheSame(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 16, 16), "a.txt": "x", "b.png": pngBytes(t, 32, 16), "b.txt": "y"})
	request := Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16}}}
	whole, err := build(t, request)
	require.NoError(t, err)
	request.CountOnly = true
	counted, err := build(t, request)
	require.NoError(t, err)
	for i := range whole.Samples {
		require.NotEmpty(t, whole.Samples[i].Hash)
		whole.Samples[i].Hash = ""
	}
	assert.Equal(t, whole, counted)
}

func TestBrokenCaptionFilter(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 16, 16)})
	_, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, CaptionFilters: []string{"s/(/x/"}}}})
	assert.ErrorContains(t, err, "dataset d: caption filter")
}

func TestPicturesThatWouldBeTooLargeAreBad(t *testing.T) {
	for _, tt := range []struct {
		name    string
		dataset job.Dataset
		width   int
		height  int
		want    string // empty: it can be used
	}{
		{"a square of a line", job.Dataset{Resolution: 64, Square: true}, 30000, 1, "long.png: 30000x1 would be resized to 1920000x64 for bucket 64x64, and an edge has at most 65536 pixels; crop or remove it"},
		{"a bucket of a line", job.Dataset{Resolution: 64}, 30000, 1, "long.png: 30000x1 would be resized to 1920000x64 for bucket 1920000x64, and an edge has at most 65536 pixels"},
		{"a large square of a panorama", job.Dataset{Resolution: 16384, Square: true}, 2000, 1000, "would be resized to 32768x16384 for bucket 16384x16384, and a picture has at most 268435456 pixels"},
		{"a panorama", job.Dataset{Resolution: 64, Square: true}, 500, 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.dataset.ID = "d"
			tt.dataset.Folder = writeFolder(t, map[string]string{"long.png": pngBytes(t, tt.width, tt.height), "ok.png": pngBytes(t, 64, 64)})
			_, err := build(t, Request{Datasets: []job.Dataset{tt.dataset}})
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
			m, err := build(t, Request{Datasets: []job.Dataset{tt.dataset}, SkipBad: true})
			require.NoError(t, err)
			assert.Equal(t, []string{"d/ok.png"}, names(m))
		})
	}
}
