// Package sheet draws contact sheets: a grid of pictures with a row a stage of the training and a column a prompt.
package sheet

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// Row is one line of the sheet.
type Row struct {
	Label    string   // at the left
	Pictures []string // PNG files, a column each; an empty name leaves a gap
}

const (
	cell      = 112 // pixels of a picture's longer edge
	gap       = 8
	labels    = 108 // width of the column of labels
	headline  = 44  // height of the titles
	fontSize  = 13
	titleRows = 2
)

var (
	paper = color.RGBA{0xfa, 0xfa, 0xf8, 0xff}
	ink   = color.RGBA{0x22, 0x22, 0x22, 0xff}
)

// Write draws the sheet into a PNG file, in one step: an older file stays until the new one is complete.
func Write(path string, titles []string, rows []Row) error {
	face, err := textFace()
	if err != nil {
		return fmt.Errorf("contact sheet: %w", err)
	}
	defer func() { _ = face.Close() }()
	columns := len(titles)
	for _, row := range rows {
		columns = max(columns, len(row.Pictures))
	}
	canvas := image.NewRGBA(image.Rect(0, 0, labels+columns*(cell+gap)+gap, headline+len(rows)*(cell+gap)+gap))
	draw.Draw(canvas, canvas.Bounds(), image.NewUniform(paper), image.Point{}, draw.Src)
	for i, title := range titles {
		drawText(canvas, face, title, labels+gap+i*(cell+gap), 4, cell)
	}
	for r, row := range rows {
		top := headline + r*(cell+gap)
		drawText(canvas, face, row.Label, gap, top+cell/2-fontSize, labels-gap)
		for i, file := range row.Pictures {
			if file == "" {
				continue
			}
			if err := place(canvas, file, image.Pt(labels+gap+i*(cell+gap), top)); err != nil {
				return fmt.Errorf("contact sheet: %w", err)
			}
		}
	}
	return save(path, canvas)
}

// place draws a picture into its cell, centred; small pictures are enlarged without smoothing, so that pixels stay visible.
func place(canvas draw.Image, file string, at image.Point) error {
	picture, err := read(file)
	if err != nil {
		return err
	}
	size := picture.Bounds().Size()
	factor := float64(cell) / float64(max(size.X, size.Y))
	w, h := int(float64(size.X)*factor+0.5), int(float64(size.Y)*factor+0.5)
	corner := at.Add(image.Pt((cell-w)/2, (cell-h)/2))
	var scaler draw.Scaler = draw.CatmullRom
	if factor > 2 {
		scaler = draw.NearestNeighbor
	}
	scaler.Scale(canvas, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(w, h))}, picture, picture.Bounds(), draw.Src, nil)
	return nil
}

func read(file string) (image.Image, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	picture, err := png.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return picture, nil
}

func textFace() (font.Face, error) {
	parsed, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	return opentype.NewFace(parsed, &opentype.FaceOptions{Size: fontSize, DPI: 72})
}

// drawText writes at most two lines of words, shortened to fit the width.
func drawText(canvas draw.Image, face font.Face, text string, x, y, width int) {
	d := font.Drawer{Dst: canvas, Src: image.NewUniform(ink), Face: face}
	line, lines := "", []string{}
	for _, word := range strings.Fields(text) {
		if longer := strings.TrimSpace(line + " " + word); d.MeasureString(longer).Ceil() <= width || line == "" {
			line = longer
			continue
		}
		lines, line = append(lines, line), word
	}
	lines = append(lines, line)
	for i, line := range lines[:min(len(lines), titleRows)] {
		for len(line) > 1 && d.MeasureString(line).Ceil() > width {
			line = strings.TrimSuffix(line, "…")
			line = line[:len(line)-1] + "…"
		}
		d.Dot = fixed.P(x, y+(i+1)*(fontSize+3))
		d.DrawString(line)
	}
}

func save(path string, picture image.Image) error {
	var buffer bytes.Buffer
	if err := png.Encode(&buffer, picture); err != nil {
		return fmt.Errorf("contact sheet: %w", err)
	}
	temporary := filepath.Join(filepath.Dir(path), ".tmp-"+filepath.Base(path))
	if err := os.WriteFile(temporary, buffer.Bytes(), 0o644); err != nil {
		return fmt.Errorf("contact sheet: %w", err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("contact sheet: %w", err)
	}
	return nil
}

// PSNR compares two pictures of one size: the peak signal-to-noise ratio over red, green and blue, in decibels (100 when
// they are equal).
func PSNR(a, b string) (float64, error) {
	first, err := read(a)
	if err != nil {
		return 0, err
	}
	second, err := read(b)
	if err != nil {
		return 0, err
	}
	size := first.Bounds().Size()
	if size != second.Bounds().Size() {
		return 0, fmt.Errorf("compare %s with %s: sizes %v and %v differ", a, b, size, second.Bounds().Size())
	}
	sum := 0.0
	for y := range size.Y {
		for x := range size.X {
			p, q := rgb(first, x, y), rgb(second, x, y)
			for i := range p {
				sum += (p[i] - q[i]) * (p[i] - q[i])
			}
		}
	}
	if sum == 0 {
		return 100, nil
	}
	return 10 * math.Log10(255*255*3*float64(size.X*size.Y)/sum), nil
}

func rgb(picture image.Image, x, y int) [3]float64 {
	origin := picture.Bounds().Min
	c := color.NRGBAModel.Convert(picture.At(origin.X+x, origin.Y+y)).(color.NRGBA)
	return [3]float64{float64(c.R), float64(c.G), float64(c.B)}
}
