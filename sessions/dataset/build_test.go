package dataset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/paths"
)

// goProber reads sizes with the standard library, without orientation.
type goProber struct{}

func (goProber) Probe(path string) (engine.Picture, error) {
	file, err := os.Open(path)
	if err != nil {
		return engine.Picture{}, err
	}
	defer file.Close()
	config, format, err := image.DecodeConfig(file)
	return engine.Picture{Width: config.Width, Height: config.Height, Format: format}, err
}

func pngBytes(t *testing.T, width, height int) string {
	t.Helper()
	var buffer bytes.Buffer
	require.NoError(t, png.Encode(&buffer, image.NewGray(image.Rect(0, 0, width, height))))
	return buffer.String()
}

func jpegBytes(t *testing.T, width, height int) string {
	t.Helper()
	var buffer bytes.Buffer
	require.NoError(t, jpeg.Encode(&buffer, image.NewGray(image.Rect(0, 0, width, height)), nil))
	return buffer.String()
}

// writeFolder writes files below a fresh folder.
func writeFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	return dir
}

func build(t *testing.T, r Request) (*Manifest, error) {
	t.Helper()
	r.Prober = goProber{}
	if r.BucketStep == 0 {
		r.BucketStep = 8
	}
	return Build(context.Background(), r)
}

func names(m *Manifest) []string {
	var names []string
	for _, s := range m.Samples {
		names = append(names, s.ID)
	}
	return names
}

func captions(m *Manifest) []string {
	var captions []string
	for _, s := range m.Samples {
		captions = append(captions, s.Caption)
	}
	return captions
}

func reasons(problems []Problem) []string {
	var reasons []string
	for _, p := range problems {
		reasons = append(reasons, filepath.Base(p.Path)+": "+p.Reason)
	}
	return reasons
}

func TestScanFindsPicturesInNaturalOrder(t *testing.T) {
	picture := pngBytes(t, 16, 16)
	dir := writeFolder(t, map[string]string{
		"img10.png": picture, "img2.PNG": picture, "img01.png": picture, "b/1.jpeg": jpegBytes(t, 16, 16),
		"a/z.png": picture, "notes.md": "x", "img2.txt": "two", ".hidden.png": "x", ".git/a.png": "x", "_controls/a.png": "x",
		"b/_controls/a.png": "x", "c.png/inner.png": picture,
	})
	require.NoError(t, os.Symlink("img2.PNG", filepath.Join(dir, "link.png")))
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "folder-link")))
	m, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16}}})
	require.NoError(t, err)
	assert.Equal(t, []string{
		"d/a/z.png", "d/b/1.jpeg", "d/c.png/inner.png", "d/img01.png", "d/img2.PNG", "d/img10.png", "d/link.png",
	}, names(m))
	sum := sha256.Sum256([]byte(picture))
	assert.Equal(t, hex.EncodeToString(sum[:]), m.Samples[0].Hash)
	assert.Equal(t, filepath.Join(dir, "a", "z.png"), m.Samples[0].Path)
	assert.Equal(t, []Size{{16, 16}}, m.Buckets())
	assert.Contains(t, m.Warnings[0], "6 of 7 pictures have no caption")
}

func TestLinksThatLeaveTheFolderAreBad(t *testing.T) {
	outside := writeFolder(t, map[string]string{"secret.png": pngBytes(t, 16, 16), "secret.txt": "secret"})
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 16, 16)})
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret.png"), filepath.Join(dir, "out.png")))
	require.NoError(t, os.Symlink("missing.png", filepath.Join(dir, "broken.png")))
	m, err := build(t, Request{SkipBad: true, Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16}}})
	require.NoError(t, err)
	assert.Equal(t, []string{"d/a.png"}, names(m))
	require.Len(t, m.Bad, 2)
	assert.Contains(t, m.Bad[0].Reason, "leads out of")

	require.NoError(t, os.Symlink(filepath.Join(outside, "secret.txt"), filepath.Join(dir, "a.txt")))
	_, err = build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16}}})
	assert.ErrorContains(t, err, "caption file a.txt")
}

func TestCaptions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		dataset job.Dataset
		want    []string // of b_dog.png, cat.png, empty.png
	}{
		{"text files", job.Dataset{}, []string{"a dog", "a [name] cat", ""}},
		{"default for missing and empty", job.Dataset{DefaultCaption: "thing"}, []string{"a dog", "a [name] cat", "thing"}},
		{"other extension", job.Dataset{CaptionExtension: ".caption"}, []string{"", "chat", ""}},
		{"file names", job.Dataset{Captions: job.CaptionsFilename}, []string{"b dog", "cat", "empty"}},
		{"fixed", job.Dataset{Captions: job.CaptionsFixed, DefaultCaption: "one"}, []string{"one", "one", "one"}},
		{"trigger", job.Dataset{Trigger: "sks"}, []string{"sks a dog", "a sks cat", "sks"}},
		{"trigger that is there", job.Dataset{Trigger: "dog"}, []string{"a dog", "a dog cat", "dog"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			picture := pngBytes(t, 16, 16)
			tt.dataset.ID, tt.dataset.Resolution = "d", 16
			tt.dataset.Folder = writeFolder(t, map[string]string{
				"b_dog.png": picture, "b_dog.txt": "\uFEFFa dog\r\n", "cat.png": picture, "cat.txt": " a [name] cat",
				"cat.caption": "chat", "empty.png": picture, "empty.txt": " \n",
			})
			m, err := build(t, Request{Datasets: []job.Dataset{tt.dataset}})
			require.NoError(t, err)
			assert.Equal(t, tt.want, captions(m))
			assert.Equal(t, slices.Contains(tt.want, ""), len(m.Warnings) == 1)
		})
	}
}

func TestCaptionMap(t *testing.T) {
	elsewhere := filepath.Join(writeFolder(t, map[string]string{"far.png": pngBytes(t, 16, 16)}), "far.png")
	far, err := json.Marshal(elsewhere)
	require.NoError(t, err)
	dir := writeFolder(t, map[string]string{
		"p/10.png": pngBytes(t, 16, 16), "p/2.png": pngBytes(t, 16, 16), "unlisted.png": "x", "p/2.txt": "not this",
		"map.json": "\ufeff" + `{"p/10.png": "ten", "p/2.png": {"caption": "two", "caption_short": "2"}, ` + string(far) + `: "far",
			"../up.png": "up", "notes.txt": "x", "gone.png": "gone"}`,
	})
	m, err := build(t, Request{SkipBad: true, Datasets: []job.Dataset{{ID: "d", Folder: filepath.Join(dir, "map.json"), Resolution: 16}}})
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"far", "two", "ten"}, captions(m))
	all := strings.Join(reasons(m.Bad), "\n")
	assert.Contains(t, all, "up.png: leads out of")
	assert.Contains(t, all, "notes.txt: is not a picture file")
	assert.Contains(t, all, "gone.png: cannot be read")

	for _, text := range []string{`[]`, `{"a.png": 3}`, `{`} {
		file := filepath.Join(writeFolder(t, map[string]string{"m.json": text}), "m.json")
		_, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: file, Resolution: 16}}})
		assert.ErrorContains(t, err, "caption map")
	}
}

func TestACaptionMapStaysWhereItMay(t *testing.T) {
	outside := writeFolder(t, map[string]string{"secret.png": pngBytes(t, 64, 64)})
	dir := writeFolder(t, map[string]string{"here.png": pngBytes(t, 64, 64),
		"map.json": fmt.Sprintf(`{"here.png": "a", %q: "b"}`, filepath.Join(outside, "secret.png"))})
	request := Request{Datasets: []job.Dataset{{ID: "map", Folder: filepath.Join(dir, "map.json"), Resolution: 64, Repeats: 1}}, SkipBad: true}
	m, err := build(t, request)
	require.NoError(t, err)
	assert.Len(t, m.Samples, 2)
	limit, err := paths.New([]string{dir})
	require.NoError(t, err)
	request.Allowed = limit.Check
	m, err = build(t, request)
	require.NoError(t, err)
	assert.Len(t, m.Samples, 1)
	require.Len(t, m.Bad, 1)
	assert.Contains(t, m.Bad[0].String(), "--root")
}

func TestBadPicturesAreAllListed(t *testing.T) {
	dir := writeFolder(t, map[string]string{
		"a.png": pngBytes(t, 16, 16), "a.txt": "a", "broken.png": "not a picture", "cut.jpg": jpegBytes(t, 16, 16)[:50],
		"latin.png": pngBytes(t, 16, 16), "latin.txt": "caf\xe9", "silent.png": pngBytes(t, 16, 16),
	})
	request := Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16, RequireCaptions: true}}}
	_, err := build(t, request)
	var bad *BadPicturesError
	require.ErrorAs(t, err, &bad)
	all := strings.Join(reasons(bad.Bad), "\n")
	assert.Len(t, bad.Bad, 4)
	for _, want := range []string{
		"broken.png: is not a readable picture", "cut.jpg: is not a readable picture",
		"latin.png: caption file latin.txt is not UTF-8", "silent.png: has no caption: write one into silent.txt",
	} {
		assert.Contains(t, all, want)
	}
	for _, name := range []string{"broken.png", "cut.jpg", "latin.png", "silent.png"} {
		assert.Contains(t, err.Error(), name)
	}

	request.SkipBad = true
	m, err := build(t, request)
	require.NoError(t, err)
	assert.Equal(t, []string{"d/a.png"}, names(m))
	assert.Equal(t, bad.Bad, m.Bad)
}

func TestPipesAreNotWaitedFor(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 16, 16), "b.png": pngBytes(t, 16, 16)})
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "a.txt"), 0o600))
	_, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16}}})
	assert.ErrorContains(t, err, "caption file a.txt: is not a regular file")
}

func TestBuildErrors(t *testing.T) {
	small := writeFolder(t, map[string]string{"a.png": pngBytes(t, 16, 16)})
	for _, tt := range []struct {
		name    string
		dataset job.Dataset
		want    string
	}{
		{"missing folder", job.Dataset{Folder: filepath.Join(small, "none")}, "no such file"},
		{"no pictures", job.Dataset{Folder: t.TempDir()}, "holds no pictures"},
		{"neither folder nor map", job.Dataset{Folder: filepath.Join(small, "a.png")}, "neither a folder nor a JSON map"},
		{"all filtered", job.Dataset{Folder: small, Resolution: 16, MinimumSize: 32}, "no picture is left to train on: 0 bad, 1 outside the limits"},
		{"settings", job.Dataset{Folder: small}, "dataset d: resolution is 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.dataset.ID = "d"
			_, err := build(t, Request{Datasets: []job.Dataset{tt.dataset}})
			assert.ErrorContains(t, err, tt.want)
		})
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Build(cancelled, Request{Prober: goProber{}, Datasets: []job.Dataset{{ID: "d", Folder: small, Resolution: 16}}})
	assert.ErrorIs(t, err, context.Canceled)
}

func TestFlipsRepeatsAndSeveralDatasets(t *testing.T) {
	first := writeFolder(t, map[string]string{"a.png": pngBytes(t, 40, 20), "b.png": pngBytes(t, 20, 40)})
	second := writeFolder(t, map[string]string{"c.png": pngBytes(t, 33, 47)})
	var calls atomic.Int32
	m, err := build(t, Request{
		Seed: 7,
		Datasets: []job.Dataset{
			{ID: "x", Folder: first, Resolution: 16, FlipX: true, FlipY: true, Repeats: 3},
			{ID: "y", Folder: second, Resolution: 16, Crop: "random", Square: true},
			{ID: "z", Folder: second, Resolution: 32, Square: true},
		},
		Progress: func(_, total int) {
			calls.Add(1)
			assert.Equal(t, 4, total)
		},
	})
	require.NoError(t, err)
	assert.Equal(t, int32(4), calls.Load())
	assert.Equal(t, []string{
		"x/a.png", "x/b.png", "x/a.png (flip x)", "x/b.png (flip x)",
		"x/a.png (flip y)", "x/b.png (flip y)", "x/a.png (flip x) (flip y)", "x/b.png (flip x) (flip y)",
		"y/c.png", "z/c.png",
	}, names(m))
	last := m.Samples[7]
	assert.Equal(t, engine.ImageItem{
		Path: filepath.Join(first, "b.png"), ResizeWidth: 16, ResizeHeight: 32, Width: 16, Height: 32, FlipX: true, FlipY: true, Out: "o",
	}, last.ImageItem("o"))
	assert.Equal(t, 3, last.Repeats)
	random := m.Samples[8]
	draw := augmentationGenerator(7, 0, 8)
	assert.Equal(t, Size{16, 23}, random.Resize)
	assert.Equal(t, []int{draw.below(1), draw.below(8)}, []int{random.CropX, random.CropY})
	assert.Equal(t, Size{32, 32}, m.Samples[9].Bucket)
	assert.Equal(t, []Size{{32, 16}, {16, 32}, {16, 16}, {32, 32}}, m.Buckets())
}

func TestFingerprint(t *testing.T) {
	m := &Manifest{Samples: samplesInBuckets(0, 1)}
	first, err := m.Fingerprint()
	require.NoError(t, err)
	m.Samples[0].Path, m.Samples[0].ID, m.Samples[0].Dataset = "/moved", "x", "y"
	moved, err := m.Fingerprint()
	require.NoError(t, err)
	assert.Equal(t, first, moved)
	m.Samples[0].Caption = "other"
	changed, err := m.Fingerprint()
	require.NoError(t, err)
	assert.NotEqual(t, first, changed)
}

func TestManifestSurvivesJSON(t *testing.T) {
	dir := writeFolder(t, map[string]string{"a.png": pngBytes(t, 40, 20), "a.txt": "ü \"quoted\""})
	m, err := build(t, Request{Datasets: []job.Dataset{{ID: "d", Folder: dir, Resolution: 16}}})
	require.NoError(t, err)
	data, err := json.Marshal(m)
	require.NoError(t, err)
	var again Manifest
	require.NoError(t, json.Unmarshal(data, &again))
	assert.Equal(t, *m, again)
}

func TestNaturalCompare(t *testing.T) {
	sorted := []string{"", "0", "001", "01", "1", "2", "10", "a", "a/1", "a01", "a1", "a1b", "a2", "a10", "a10b", "b"}
	for i, a := range sorted {
		for j, b := range sorted {
			got := naturalCompare(a, b)
			switch {
			case i < j:
				assert.Negative(t, got, "%q %q", a, b)
			case i > j:
				assert.Positive(t, got, "%q %q", a, b)
			default:
				assert.Zero(t, got)
			}
		}
	}
}
