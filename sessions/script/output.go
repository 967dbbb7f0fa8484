package script

import (
	"bytes"
	"strings"
)

// maxLine bounds a line; longer ones come in pieces.
const maxLine = 8 << 10

// output cuts what a script prints into lines and keeps its end. It is written by one goroutine.
type output struct {
	line func(string)
	kept int
	rest []byte // of an unfinished line
	last []byte // the end of everything
}

// Write never fails, so that a script can print as much as it likes.
func (o *output) Write(data []byte) (int, error) {
	o.last = append(o.last, data...)
	if len(o.last) > 2*tailBytes {
		o.last = append(o.last[:0], o.last[len(o.last)-tailBytes:]...)
	}
	if o.kept >= MaxOutput {
		return len(data), nil
	}
	o.kept += len(data)
	o.rest = append(o.rest, data...)
	for {
		end := bytes.IndexByte(o.rest, '\n')
		if end < 0 && len(o.rest) < maxLine {
			break
		}
		next := end + 1
		if end < 0 || end > maxLine {
			end, next = maxLine, maxLine
		}
		o.emit(o.rest[:end])
		o.rest = o.rest[next:]
	}
	if o.kept >= MaxOutput {
		o.flush()
		o.emit([]byte("(more output was left out)"))
	}
	return len(data), nil
}

func (o *output) flush() {
	if len(o.rest) > 0 {
		o.emit(o.rest)
	}
	o.rest = nil
}

func (o *output) emit(line []byte) {
	if text := strings.TrimRight(clean(line), " \t\r"); o.line != nil && text != "" {
		o.line(text)
	}
}

func (o *output) tail() string {
	data := o.last
	if len(data) > tailBytes {
		data = data[len(data)-tailBytes:]
	}
	return strings.TrimSpace(clean(data))
}

func clean(data []byte) string { return strings.ToValidUTF8(string(data), "\uFFFD") }
