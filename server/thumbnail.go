package server

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"os"

	"golang.org/x/image/draw"
)

const (
	// largestMessage is the longest message that WebSocket clients take unless they are told otherwise: Python's package
	// websockets ends the connection at a longer one.
	largestMessage = 1 << 20
	// thumbnailEdge bounds the sides of a picture that takes the place of a larger one.
	thumbnailEdge = 512
	// thumbnailPixels bounds what is decoded for that.
	thumbnailPixels = 1 << 26
)

// within is the object with a small JPEG in the place of its picture, if it would be longer than limit otherwise. A picture
// that cannot be read stays as it is.
func (e encoded) within(limit int64) encoded {
	stat, err := os.Stat(e.picture)
	if e.picture == "" || err != nil || int64(len(e.text))+stat.Size()*4/3 <= limit {
		return e
	}
	small, err := thumbnail(e.picture)
	if err != nil {
		return e
	}
	large := `data:image/png;base64,` + pictureMark + `","mime_type":"image/png"`
	text := `data:image/jpeg;base64,` + base64.StdEncoding.EncodeToString(small) + `","mime_type":"image/jpeg"`
	return encoded{text: bytes.Replace(e.text, []byte(large), []byte(text), 1)}
}

// thumbnail is a PNG file as a small JPEG.
func thumbnail(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	size, err := png.DecodeConfig(file)
	if err != nil {
		return nil, err
	}
	if size.Width*size.Height > thumbnailPixels {
		return nil, fmt.Errorf("picture %s of %d×%d pixels is not made smaller: it has more than %d", path, size.Width, size.Height, thumbnailPixels)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	full, err := png.Decode(file)
	if err != nil {
		return nil, err
	}
	scale := max(float64(max(size.Width, size.Height))/thumbnailEdge, 1)
	small := image.NewRGBA(image.Rect(0, 0, max(int(float64(size.Width)/scale), 1), max(int(float64(size.Height)/scale), 1)))
	draw.ApproxBiLinear.Scale(small, small.Bounds(), full, full.Bounds(), draw.Src, nil)
	var out bytes.Buffer
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: 85}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
