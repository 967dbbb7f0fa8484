package dataset

import (
	"fmt"
	"math"
	"strconv"

	"github.com/stepd/stepd/sessions/job"
)

// Values of job.Dataset.BucketStyle and job.Dataset.Crop.
const (
	styleSimpleTuner = "simpletuner"
	styleAIToolkit   = "aitoolkit"

	cropCenter = "center"
	cropCorner = "corner"
	cropRandom = "random"
)

// defaultAspectRounding is the number of decimals of aspect ratios.
const defaultAspectRounding = 2

// geometry places the pictures of one dataset. With the SimpleTuner style the
// first bucket of an aspect ratio is used for all pictures of that ratio, so
// pictures must be placed in a fixed order.
type geometry struct {
	dataset  *job.Dataset
	step     int // bucket sides are multiples of it
	rounding int
	shapes   map[float64]Size // bucket by rounded aspect ratio
}

func newGeometry(d *job.Dataset, step int) (*geometry, error) {
	g := &geometry{dataset: d, step: d.BucketStep, rounding: d.AspectRounding, shapes: map[float64]Size{}}
	if g.step == 0 {
		g.step = step
	}
	if g.rounding == 0 {
		g.rounding = defaultAspectRounding
	}
	if g.step < 1 {
		return nil, fmt.Errorf("bucket step is %d, must be at least 1", g.step)
	}
	if !(d.Resolution > 0) {
		return nil, fmt.Errorf("resolution is %v, must be positive", d.Resolution)
	}
	switch d.ResolutionType {
	case "", job.ResolutionPixel, job.ResolutionArea, job.ResolutionMegapixel:
	default:
		return nil, fmt.Errorf("resolution type %q is unknown", d.ResolutionType)
	}
	switch d.BucketStyle {
	case "", styleSimpleTuner, styleAIToolkit:
	default:
		return nil, fmt.Errorf("bucket style %q is unknown", d.BucketStyle)
	}
	switch d.Crop {
	case "", cropCenter, cropCorner, cropRandom:
	default:
		return nil, fmt.Errorf("crop %q is unknown", d.Crop)
	}
	return g, nil
}

// unsuited says why the limits of sizes and aspect ratios leave a picture out; "" if they do not.
func (g *geometry) unsuited(picture Size) string {
	if picture.Width < 1 || picture.Height < 1 {
		return fmt.Sprintf("size %v is empty", picture)
	}
	if reason := g.tooSmall(picture); reason != "" {
		return reason
	}
	aspect := float64(picture.Width) / float64(picture.Height)
	if limit := g.dataset.MinimumAspect; limit > 0 && aspect < limit {
		return fmt.Sprintf("the aspect ratio of %v is below minimum_aspect %g", picture, limit)
	}
	if limit := g.dataset.MaximumAspect; limit > 0 && aspect > limit {
		return fmt.Sprintf("the aspect ratio of %v is above maximum_aspect %g", picture, limit)
	}
	return ""
}

// place decides bucket and size of a suited picture, with the crop at the left upper
// corner. A picture that has no bucket gets the reason instead.
func (g *geometry) place(picture Size, random func() *generator) (p Placement, reason string) {
	bucket, reason := g.bucket(picture, random)
	if reason != "" {
		return Placement{}, reason
	}
	scale := coverScale(picture, bucket)
	if limit := g.dataset.MaxUpscale; limit > 0 && scale > limit {
		return Placement{}, fmt.Sprintf("%v would have to be enlarged %.3g times for bucket %v; max_upscale is %g", picture, scale, bucket, limit)
	}
	scale = max(scale, g.reduceScale(picture))
	return Placement{Bucket: bucket, Resize: resized(picture, bucket, scale)}, ""
}

// Limits of a picture after resizing, which neither pictures nor buckets of any use come near; the area is what an engine
// resizes to at most.
const (
	maxEdge = 1 << 16
	maxArea = 1 << 28
)

// oversize says why a picture cannot be resized as its placement wants; "" if it can.
func oversize(picture Size, p Placement) string {
	edge, remedy := max(p.Resize.Width, p.Resize.Height), "crop or remove it, or leave it out by its aspect ratio"
	if edge > maxEdge {
		return fmt.Sprintf("%v would be resized to %v for bucket %v, and an edge has at most %d pixels; %s", picture, p.Resize, p.Bucket, maxEdge, remedy)
	}
	if p.Resize.area() > maxArea {
		return fmt.Sprintf("%v would be resized to %v for bucket %v, and a picture has at most %d pixels; %s", picture, p.Resize, p.Bucket, maxArea, remedy)
	}
	return ""
}

// crop moves the cut-out of a placement where the dataset's Crop wants it;
// random draws left, then top, from the generator.
func (g *geometry) crop(p *Placement, random func() *generator) {
	freeX, freeY := p.Resize.Width-p.Bucket.Width, p.Resize.Height-p.Bucket.Height
	switch g.dataset.Crop {
	case cropCorner:
		p.CropX, p.CropY = 0, 0
	case cropRandom:
		draw := random()
		p.CropX = draw.below(freeX + 1)
		p.CropY = draw.below(freeY + 1)
	default:
		p.CropX, p.CropY = freeX/2, freeY/2
	}
}

// coverScale is the factor by which a picture must be scaled to cover a bucket.
func coverScale(picture, bucket Size) float64 {
	return max(float64(bucket.Width)/float64(picture.Width), float64(bucket.Height)/float64(picture.Height))
}

// resized scales a picture; sides are rounded half to even and cover the bucket.
func resized(picture, bucket Size, scale float64) Size {
	return Size{
		Width:  max(bucket.Width, int(math.RoundToEven(float64(picture.Width)*scale))),
		Height: max(bucket.Height, int(math.RoundToEven(float64(picture.Height)*scale))),
	}
}

// pixels converts a size in the dataset's unit to an area in pixels (not for
// ResolutionPixel, whose unit is the shorter edge).
func (g *geometry) pixels(size float64) float64 {
	if g.dataset.ResolutionType == job.ResolutionMegapixel {
		return size * 1e6
	}
	return size * size
}

// byEdge tells whether sizes are lengths of the shorter edge, not areas.
func (g *geometry) byEdge() bool {
	return g.dataset.ResolutionType == "" || g.dataset.ResolutionType == job.ResolutionPixel
}

func (g *geometry) tooSmall(picture Size) string {
	limit := g.dataset.MinimumSize
	if limit <= 0 {
		return ""
	}
	shorter := float64(min(picture.Width, picture.Height))
	small := shorter < limit
	if !g.byEdge() {
		small = picture.area() < g.pixels(limit)
		if g.dataset.Square {
			small = small || shorter < math.Floor(math.Sqrt(g.pixels(limit)))
		}
	}
	if !small {
		return ""
	}
	return fmt.Sprintf("%v is below minimum_size %g", picture, limit)
}

// reduceScale is the factor that brings a picture above MaximumSize down to
// TargetSize; 0 for others.
func (g *geometry) reduceScale(picture Size) float64 {
	limit, target := g.dataset.MaximumSize, g.dataset.TargetSize
	if limit <= 0 || target <= 0 {
		return 0
	}
	if g.byEdge() {
		if float64(max(picture.Width, picture.Height)) <= limit {
			return 0
		}
		return min(1, target/float64(min(picture.Width, picture.Height)))
	}
	if picture.area() <= g.pixels(limit) {
		return 0
	}
	return min(1, math.Sqrt(g.pixels(target)/picture.area()))
}

func (s Size) area() float64 { return float64(s.Width) * float64(s.Height) }

func (g *geometry) bucket(picture Size, random func() *generator) (Size, string) {
	if g.dataset.BucketStyle == styleAIToolkit {
		return g.bucketAIToolkit(picture), ""
	}
	return g.bucketSimpleTuner(picture, random)
}

// bucketAIToolkit keeps the area at most the resolution's and the picture's
// own, and chooses among the four ways to round the sides to steps the one
// whose area is closest (ai-toolkit's get_bucket_for_image_size).
func (g *geometry) bucketAIToolkit(picture Size) Size {
	edge := g.dataset.Resolution
	if g.dataset.ResolutionType == job.ResolutionMegapixel {
		edge = math.Round(math.Sqrt(g.pixels(edge)))
	}
	if g.dataset.Square {
		side := g.nearest(edge)
		return Size{side, side}
	}
	limit := edge * edge
	target := min(picture.area(), limit)
	scale := math.Sqrt(target / picture.area())
	width := float64(picture.Width) * scale / float64(g.step)
	height := float64(picture.Height) * scale / float64(g.step)

	best, bestDistance := Size{}, math.Inf(1)
	for _, w := range []float64{math.Floor(width), math.Ceil(width)} {
		for _, h := range []float64{math.Floor(height), math.Ceil(height)} {
			size := Size{int(w) * g.step, int(h) * g.step}
			if size.area() == 0 || size.area() > limit {
				continue
			}
			if distance := math.Abs(size.area() - target); distance < bestDistance {
				best, bestDistance = size, distance
			}
		}
	}
	if best == (Size{}) {
		best = Size{max(int(width), 1) * g.step, max(int(height), 1) * g.step}
	}
	return best
}

// bucketSimpleTuner follows SimpleTuner's bucketing by rounded aspect ratio.
func (g *geometry) bucketSimpleTuner(picture Size, random func() *generator) (Size, string) {
	if g.dataset.Square {
		side := g.squareSide()
		return Size{side, side}, ""
	}
	ratio := g.ratio(picture)
	portrait := picture.Width < picture.Height
	if len(g.dataset.CropAspects) > 0 {
		ratio = g.cropAspect(ratio, random)
		portrait = ratio < 1
	}
	if ratio == 0 {
		return Size{}, fmt.Sprintf("aspect ratio of %v is too small", picture)
	}
	if g.byEdge() {
		return g.bucketByEdge(portrait, ratio), ""
	}
	return g.bucketByArea(ratio), ""
}

// cropAspect chooses the aspect ratio of the cut, rounded as those of pictures are: the closest to the picture's own (of
// two, the first), or one drawn.
func (g *geometry) cropAspect(own float64, random func() *generator) float64 {
	aspects := g.dataset.CropAspects
	chosen := aspects[0]
	if g.dataset.CropAspect == job.AspectRandom {
		chosen = aspects[random().below(len(aspects))]
	} else {
		for _, aspect := range aspects {
			if math.Abs(aspect-own) < math.Abs(chosen-own) {
				chosen = aspect
			}
		}
	}
	return g.round(chosen)
}

// bucketByEdge gives the shorter edge the resolution.
func (g *geometry) bucketByEdge(portrait bool, ratio float64) Size {
	edge := g.dataset.Resolution
	if portrait {
		return Size{g.nearest(edge), g.nearest(math.Floor(edge / ratio))}
	}
	return Size{g.nearest(math.Floor(edge * ratio)), g.nearest(edge)}
}

// bucketByArea gives the bucket the resolution's area. All pictures whose
// buckets have the same rounded ratio share the first of these buckets.
func (g *geometry) bucketByArea(ratio float64) Size {
	edge := float64(g.nearest(math.Floor(math.Sqrt(g.pixels(g.dataset.Resolution)))))
	bucket := Size{g.nearest(edge * math.Sqrt(ratio)), g.nearest(edge / math.Sqrt(ratio))}
	bucketRatio := g.ratio(bucket)
	if bucketRatio == 1 {
		return Size{int(edge), int(edge)}
	}
	if first, ok := g.shapes[bucketRatio]; ok {
		return first
	}
	g.shapes[bucketRatio] = bucket
	return bucket
}

// squareSides are the sides that SimpleTuner gives square crops of an area
// within 0.05 of a customary one (both in megapixels).
var squareSides = []struct{ megapixels, side float64 }{
	{0.25, 512}, {0.5, 768}, {1, 1024}, {2, 1536}, {4, 2048},
}

func (g *geometry) squareSide() int {
	if g.byEdge() {
		return g.nearest(g.dataset.Resolution)
	}
	pixels := g.pixels(g.dataset.Resolution)
	for _, known := range squareSides {
		if math.Abs(pixels/1e6-known.megapixels) <= 0.05 {
			return g.nearest(known.side)
		}
	}
	return g.nearest(math.Sqrt(pixels))
}

// nearest rounds to the nearest multiple of the step, halves to even, at least one step.
func (g *geometry) nearest(length float64) int {
	return max(int(math.RoundToEven(length/float64(g.step))), 1) * g.step
}

// ratio is width/height rounded to the dataset's number of decimals, as Python rounds.
func (g *geometry) ratio(size Size) float64 {
	return g.round(float64(size.Width) / float64(size.Height))
}

func (g *geometry) round(ratio float64) float64 {
	text := strconv.FormatFloat(ratio, 'f', g.rounding, 64)
	rounded, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0 // cannot happen: text is a formatted number
	}
	return rounded
}
