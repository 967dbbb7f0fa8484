package run

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// cutShort leaves the header of a picture, which is all that a scan reads.
func cutShort(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.Truncate(path, 60))
}

func TestAPictureThatCannotBeDecoded(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	broken := filepath.Join(j.Datasets[0].Folder, "2.png")
	second := filepath.Join(j.Datasets[0].Folder, "4.png")
	intact, err := os.ReadFile(second)
	require.NoError(t, err)
	cutShort(t, broken)
	cutShort(t, second)
	_, _, err = whole(t, j)
	require.ErrorContains(t, err, "2 pictures cannot be used")
	require.ErrorContains(t, err, broken)
	require.ErrorContains(t, err, second)
	require.ErrorContains(t, err, "train.skip_bad_images")

	require.NoError(t, os.WriteFile(second, intact, 0o644))
	j.SkipBadImages = true
	r, outcome, err := whole(t, j)
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	require.Len(t, r.warnings, 1)
	assert.Contains(t, r.warnings[0], "picture is left out: "+broken)
	assert.Equal(t, int64(2), r.ready.Epochs.Length(0), "four samples are left")

	for i := range 5 {
		cutShort(t, filepath.Join(j.Datasets[0].Folder, fmt.Sprint(i, ".png")))
	}
	_, _, err = whole(t, j)
	require.ErrorContains(t, err, "not one picture")
}

func TestCaptionsThatAreTooLongAreCounted(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	for _, i := range []string{"0", "1", "4"} {
		require.NoError(t, os.WriteFile(filepath.Join(j.Datasets[0].Folder, i+".txt"), []byte(strings.Repeat("a very long caption ", 40)), 0o644))
	}
	r, _, err := whole(t, j)
	require.NoError(t, err)
	require.Len(t, r.warnings, 1)
	assert.Equal(t, "dataset pictures: the captions of 3 samples are longer than 32 tokens; what comes after is left out", r.warnings[0])
}

// fullCache has no space for latents until it is freed.
type fullCache struct {
	fake.Engine
	refused int
	free    func() bool
}

func (e *fullCache) Open(ctx context.Context, c engine.Config, s engine.Sink) (engine.Session, error) {
	session, err := e.Engine.Open(ctx, c, s)
	return &fullCacheSession{session, e}, err
}

type fullCacheSession struct {
	engine.Session
	engine *fullCache
}

func (s *fullCacheSession) EncodeImages(ctx context.Context, items []engine.ImageItem) error {
	if !s.engine.free() {
		s.engine.refused++
		return engine.Errorf(engine.IO, "write %s: %v", items[0].Out, syscall.ENOSPC.Error()+": No space left on device")
	}
	return s.Session.EncodeImages(ctx, items)
}

func TestAFullDiskWhileCachingIsWaitedFor(t *testing.T) {
	for _, abort := range []bool{false, true} {
		r, control := &recorder{}, NewControl()
		control.Allow(20)
		e := &fullCache{}
		e.free = func() bool {
			if e.refused == 3 && abort {
				control.Abort()
			}
			return e.refused >= 3 && !abort
		}
		outcome, err := Run(context.Background(), Request{Job: fixture.Job(t, t.TempDir()), CacheDir: t.TempDir(), DiskRetry: time.Millisecond}, e, control, r)
		require.Len(t, r.warnings, 1)
		assert.Contains(t, r.warnings[0], "waits until there is space for the cache")
		if abort {
			require.ErrorContains(t, err, "No space left")
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, Completed, outcome)
	}
}

func TestThePrecisionOfTheRunDoesNotChangeLatents(t *testing.T) {
	dir := t.TempDir()
	encoded := 0
	for _, dtype := range []string{"fp32", "bf16"} {
		j := fixture.Job(t, dir)
		j.Name, j.Engine.DType = dtype, dtype
		control := NewControl()
		control.Allow(20)
		_, err := Run(context.Background(), Request{Job: j, CacheDir: filepath.Join(dir, "cache")}, &countingEngine{encoded: &encoded}, control, &recorder{})
		require.NoError(t, err)
	}
	assert.Equal(t, 5+4+4, encoded, "five pictures once, three captions and the empty one twice")
}

// pickyEngine cannot decode pictures whose name says so.
type pickyEngine struct{ fake.Engine }

func (e *pickyEngine) Open(ctx context.Context, c engine.Config, s engine.Sink) (engine.Session, error) {
	session, err := e.Engine.Open(ctx, c, s)
	return &pickySession{session}, err
}

type pickySession struct{ engine.Session }

func (s *pickySession) EncodeImages(ctx context.Context, items []engine.ImageItem) error {
	for _, item := range items {
		if strings.Contains(item.Path, "bad") {
			return engine.Errorf(engine.Invalid, "%s cannot be decoded", item.Path)
		}
	}
	return s.Session.EncodeImages(ctx, items)
}

func TestAllPicturesThatCannotBeDecodedAreNamedInOneRun(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	for i := range imagesAtOnce + 10 {
		name := fmt.Sprintf("%03d.png", i)
		if i == 2 || i == imagesAtOnce+5 { // in two chunks
			name = "bad-" + name
		}
		picture := image.NewPaletted(image.Rect(0, 0, 64, 64), color.Palette{color.RGBA{G: uint8(i), A: 255}})
		file, err := os.Create(filepath.Join(j.Datasets[0].Folder, name))
		require.NoError(t, err)
		require.NoError(t, errors.Join(png.Encode(file, picture), file.Close()))
	}
	r := &recorder{}
	_, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir()}, &pickyEngine{}, NewControl(), r)
	require.ErrorContains(t, err, "bad-002.png")
	require.ErrorContains(t, err, fmt.Sprintf("bad-%03d.png", imagesAtOnce+5))
	assert.Empty(t, r.steps)
	assert.Contains(t, strings.Join(r.logs, "\n"), "the run ends when all others are read")
}
