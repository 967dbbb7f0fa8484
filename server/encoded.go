package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"os"

	"github.com/google/uuid"
)

// picture is an image inside an event.
type picture struct {
	Source   string `json:"src"` // data URI
	MimeType string `json:"mime_type"`
	path     string
}

// pictureMark stands for the data of a picture that has not been read; no text of an event can hold it.
var pictureMark = uuid.NewString()

// pictures is the PNG at path as a list of one, not read yet; empty when it is not there.
func pictures(path string) []picture {
	if stat, err := os.Stat(path); err != nil || !stat.Mode().IsRegular() {
		return []picture{}
	}
	return []picture{{Source: "data:image/png;base64," + pictureMark, MimeType: "image/png", path: path}}
}

// encoded is an object as JSON, but for its picture: that is read while the object is written, so that a crowd of readers
// of large pictures costs no memory.
type encoded struct {
	text    []byte // with a pictureMark where the picture belongs
	picture string // its file; empty: none
}

// encodeObject writes an object made of the Body of a payload.
func encodeObject(object any, p Payload) encoded {
	text, err := json.Marshal(object)
	if err != nil {
		return encoded{text: []byte("{}")} // a Body is made of values that JSON can express
	}
	e := encoded{text: text}
	if list, _ := p.Body["images"].([]picture); len(list) > 0 {
		e.picture = list[0].path
	}
	return e
}

// writeTo writes the object whole. A picture that is gone is empty.
func (e encoded) writeTo(w io.Writer) error {
	before, after, marked := bytes.Cut(e.text, []byte(pictureMark))
	if _, err := w.Write(before); err != nil || !marked {
		return err
	}
	if err := writeBase64(w, e.picture); err != nil {
		return err
	}
	_, err := w.Write(after)
	return err
}

// largestPicture bounds what an event may carry; a PNG of 2048×2048 pixels stays below.
const largestPicture = 24 << 20

// writeBase64 returns errors of w; a file that cannot be read ends early.
func writeBase64(w io.Writer, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	text := base64.NewEncoder(base64.StdEncoding, w)
	data := make([]byte, 24<<10)
	for total := 0; total < largestPicture; {
		n, err := file.Read(data)
		if n == 0 || err != nil {
			break
		}
		if _, err := text.Write(data[:n]); err != nil {
			return err
		}
		total += n
	}
	return text.Close()
}

// withPictures reads the pictures of a payload into its body.
func withPictures(p Payload) Payload {
	list, _ := p.Body["images"].([]picture)
	if len(list) == 0 {
		return p
	}
	var source bytes.Buffer
	source.WriteString("data:image/png;base64,")
	if err := writeBase64(&source, list[0].path); err != nil {
		return p // a buffer takes everything
	}
	list[0].Source = source.String()
	return p
}
