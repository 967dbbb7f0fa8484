package run

import (
	"context"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
)

// recropped makes square crops of the pictures, of which some are wider than high, anew in every epoch, beside a dataset
// whose crops stay.
func recropped(j *job.Job) {
	d := &j.Datasets[0]
	d.Square, d.Crop, d.NewCrops = true, "random", true
	second := *d
	second.ID, second.NewCrops = "second", false
	j.Datasets = append(j.Datasets, second)
}

// widen makes the pictures of the job wide enough for many crops.
func widen(t *testing.T, j *job.Job) {
	t.Helper()
	for i := range 5 {
		file, err := os.Create(filepath.Join(j.Datasets[0].Folder, fmt.Sprintf("%d.png", i)))
		require.NoError(t, err)
		require.NoError(t, png.Encode(file, image.NewGray(image.Rect(0, 0, 640+i, 64))))
		require.NoError(t, file.Close())
	}
}

func TestNewCropsResumeBitForBit(t *testing.T) { assertResumesBitForBit(t, recropped) }

func TestCropsAreNewInEveryEpoch(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	widen(t, j)
	recropped(j)
	j.Steps = 12 // of two micro-batches of two; an epoch has five, so that epochs end within steps
	crops := func() map[string]int { return encodedCrops(t, j) }
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	require.Equal(t, Completed, outcome)
	assert.Equal(t, int64(4), r.ready.EpochOf(12))
	seen := crops()
	assert.Greater(t, seen["new"], 5*3, "five epochs of five pictures, and hardly a crop twice")

	still := fixture.Job(t, t.TempDir())
	widen(t, still)
	recropped(still)
	still.Steps, still.Datasets[0].NewCrops = 12, false
	other, _, err := whole(t, still)
	require.NoError(t, err)
	assert.Equal(t, 10, encodedCrops(t, still)["new"], "one crop of each sample")
	assert.NotEqual(t, r.losses()[12], other.losses()[12])
	assert.Equal(t, r.losses()[1], other.losses()[1], "the first epoch is the same")
}

// encodedCrops counts the latents in the cache of a job.
func encodedCrops(t *testing.T, j *job.Job) map[string]int {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(filepath.Dir(j.Output), "cache", "??", "*", "data.safetensors"))
	require.NoError(t, err)
	captions := 4 // of the fixture, and the empty one
	return map[string]int{"new": len(entries) - captions}
}

// A step of more micro-batches than an epoch has needs the crops of several.
func TestAStepMayNeedTheCropsOfSeveralEpochs(t *testing.T) {
	assertResumesBitForBit(t, func(j *job.Job) {
		recropped(j)
		j.Engine.Accumulation = 13
	})
}

func TestRequestsCutTheEncodingOfCropsShort(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	widen(t, j)
	recropped(j)
	control := NewControl()
	control.Allow(j.Steps)
	r := &recorder{}
	e := &encodings{during: func(calls int) {
		if calls == 2 { // the first is before the first step
			control.Stop()
		}
	}}
	outcome, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir()}, e, control, r)
	require.NoError(t, err)
	assert.Equal(t, Stopped, outcome)
	steps, _ := r.saved()
	assert.Len(t, steps, 1, "the steps of the first epoch are in a checkpoint")
	assert.Less(t, steps[0], int64(4))
}

// encodings tells of each call that encodes pictures.
type encodings struct {
	fake.Engine
	during func(calls int)
	calls  int
}

func (e *encodings) Open(ctx context.Context, c engine.Config, s engine.Sink) (engine.Session, error) {
	session, err := e.Engine.Open(ctx, c, s)
	return &encodingSession{session, e}, err
}

type encodingSession struct {
	engine.Session
	engine *encodings
}

func (s *encodingSession) EncodeImages(ctx context.Context, items []engine.ImageItem) error {
	s.engine.calls++
	s.engine.during(s.engine.calls)
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Session.EncodeImages(ctx, items)
}
