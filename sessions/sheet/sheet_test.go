package sheet

import (
	"image"
	"image/color"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func picture(t *testing.T, path string, c color.Color) string {
	t.Helper()
	m := image.NewRGBA(image.Rect(0, 0, 16, 8))
	for i := range 16 * 8 {
		m.Set(i%16, i/16, c)
	}
	require.NoError(t, save(path, m))
	return path
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	red := picture(t, filepath.Join(dir, "red.png"), color.RGBA{255, 0, 0, 255})
	out := filepath.Join(dir, "sheet.png")
	require.NoError(t, Write(out, []string{"a rather long prompt with many words", "b"}, []Row{{"original", []string{red, red}}, {"step 10", []string{"", red}}}))
	sheet, err := read(out)
	require.NoError(t, err)
	require.Equal(t, labels+2*(cell+gap)+gap, sheet.Bounds().Dx())
	at := func(column, row int) color.Color {
		return color.RGBAModel.Convert(sheet.At(labels+gap+column*(cell+gap)+cell/2, headline+row*(cell+gap)+cell/2))
	}
	require.Equal(t, color.RGBA{255, 0, 0, 255}, at(0, 0))
	require.Equal(t, paper, at(0, 1))
	require.Equal(t, color.RGBA{255, 0, 0, 255}, at(1, 1))
	require.ErrorContains(t, Write(out, nil, []Row{{"x", []string{filepath.Join(dir, "none.png")}}}), "none.png")
}

func TestPSNR(t *testing.T) {
	dir := t.TempDir()
	black := picture(t, filepath.Join(dir, "black.png"), color.Black)
	white := picture(t, filepath.Join(dir, "white.png"), color.White)
	near := picture(t, filepath.Join(dir, "near.png"), color.RGBA{1, 1, 1, 255})
	for _, test := range []struct {
		b    string
		want float64
	}{{black, 100}, {white, 0}, {near, 48.1308}} {
		got, err := PSNR(black, test.b)
		require.NoError(t, err)
		require.InDelta(t, test.want, got, 1e-3)
	}
}
