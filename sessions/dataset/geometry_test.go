package dataset

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

func TestSizeLimits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		dataset job.Dataset
		picture Size
		resize  Size
		reason  string
	}{
		{"edge long enough", job.Dataset{Resolution: 64, MinimumSize: 64}, Size{64, 64}, Size{64, 64}, ""},
		{"edge too short", job.Dataset{Resolution: 64, MinimumSize: 64}, Size{640, 63}, Size{}, "640x63 is below minimum_size 64"},
		{"area large enough", job.Dataset{Resolution: 64, ResolutionType: job.ResolutionArea, MinimumSize: 64}, Size{128, 32}, Size{128, 32}, ""},
		{"area too small", job.Dataset{Resolution: 64, ResolutionType: job.ResolutionArea, MinimumSize: 64}, Size{127, 32}, Size{}, "below minimum_size 64"},
		{"square crops need both edges", job.Dataset{Resolution: 64, ResolutionType: job.ResolutionArea, MinimumSize: 64, Square: true},
			Size{128, 32}, Size{}, "below minimum_size 64"},
		{"megapixels", job.Dataset{Resolution: 0.01, ResolutionType: job.ResolutionMegapixel, MinimumSize: 0.01}, Size{99, 100}, Size{}, "minimum_size 0.01"},
		{"enlarged too much", job.Dataset{Resolution: 64, MaxUpscale: 1.5}, Size{40, 40}, Size{}, "enlarged 1.6 times"},
		{"enlarged enough", job.Dataset{Resolution: 64, MaxUpscale: 1.6}, Size{40, 40}, Size{64, 64}, ""},
		{"below the maximum only covers", job.Dataset{Resolution: 64, MaximumSize: 512, TargetSize: 128}, Size{512, 512}, Size{64, 64}, ""},
		{"above the maximum is reduced to the target", job.Dataset{Resolution: 64, MaximumSize: 256, TargetSize: 128}, Size{512, 512}, Size{128, 128}, ""},
		{"reduced by area", job.Dataset{Resolution: 64, ResolutionType: job.ResolutionArea, MaximumSize: 256, TargetSize: 128, Square: true},
			Size{512, 256}, Size{181, 91}, ""},
		{"a target below the bucket still covers", job.Dataset{Resolution: 64, MaximumSize: 256, TargetSize: 32}, Size{512, 512}, Size{64, 64}, ""},
		{"the target never enlarges", job.Dataset{Resolution: 64, MaximumSize: 100, TargetSize: 400}, Size{200, 200}, Size{200, 200}, ""},
		{"no size", job.Dataset{Resolution: 64}, Size{0, 5}, Size{}, "empty"},
		{"too narrow", job.Dataset{Resolution: 64}, Size{1, 1000}, Size{}, "too small"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule, err := newGeometry(&tt.dataset, 8)
			require.NoError(t, err)
			reason := rule.unsuited(tt.picture)
			var p Placement
			if reason == "" {
				p, reason = rule.place(tt.picture, nil)
			}
			if tt.reason != "" {
				assert.Contains(t, reason, tt.reason)
				return
			}
			assert.Empty(t, reason)
			assert.Equal(t, tt.resize, p.Resize)
		})
	}
}

func TestCropPositions(t *testing.T) {
	for _, tt := range []struct {
		crop string
		x, y int
	}{
		{"", 10, 2}, {"center", 10, 2}, {"corner", 0, 0},
	} {
		rule := geometry{dataset: &job.Dataset{Crop: tt.crop}}
		p := Placement{Bucket: Size{64, 64}, Resize: Size{85, 69}, CropX: 1, CropY: 1}
		rule.crop(&p, nil)
		assert.Equal(t, []int{tt.x, tt.y}, []int{p.CropX, p.CropY}, tt.crop)
	}
}

// Pictures whose buckets have the same rounded aspect ratio share a bucket.
func TestAspectRoundingMergesBuckets(t *testing.T) {
	rule, err := newGeometry(&job.Dataset{Resolution: 64, ResolutionType: job.ResolutionArea, AspectRounding: 1}, 1)
	require.NoError(t, err)
	first, _ := rule.place(Size{1500, 1000}, nil)
	second, _ := rule.place(Size{1540, 1000}, nil)
	assert.Equal(t, first.Bucket, second.Bucket)
}

func TestBadSettings(t *testing.T) {
	good := job.Dataset{Resolution: 64}
	for _, tt := range []struct {
		name   string
		change func(*job.Dataset)
		step   int
		want   string
	}{
		{"step", func(*job.Dataset) {}, 0, "bucket step is 0"},
		{"resolution", func(d *job.Dataset) { d.Resolution = 0 }, 8, "resolution is 0"},
		{"type", func(d *job.Dataset) { d.ResolutionType = "acres" }, 8, `"acres"`},
		{"style", func(d *job.Dataset) { d.BucketStyle = "x" }, 8, `style "x"`},
		{"crop", func(d *job.Dataset) { d.Crop = "face" }, 8, `crop "face"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := good
			tt.change(&d)
			_, err := newGeometry(&d, tt.step)
			assert.ErrorContains(t, err, tt.want)
		})
	}
}
