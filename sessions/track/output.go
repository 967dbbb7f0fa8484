package track

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// output is a file that grows at its end.
type output struct {
	file   *os.File
	buffer *bufio.Writer
	size   int64 // with what is buffered
}

// openOutput keeps the first bytes of a file and goes on behind them.
func openOutput(path string, keep int64) (*output, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	o := &output{file: file, buffer: bufio.NewWriter(file)}
	if err := o.truncate(keep); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return o, nil
}

func (o *output) Write(data []byte) (int, error) {
	n, err := o.buffer.Write(data)
	o.size += int64(n)
	return n, err
}

// truncate goes back to an earlier size.
func (o *output) truncate(size int64) error {
	if err := o.buffer.Flush(); err != nil {
		return err
	}
	if err := o.file.Truncate(size); err != nil {
		return err
	}
	_, err := o.file.Seek(size, io.SeekStart)
	o.size = size
	return err
}

func (o *output) flush() error { return o.buffer.Flush() }

func (o *output) sync() error { return errors.Join(o.buffer.Flush(), o.file.Sync()) }

func (o *output) close() error { return errors.Join(o.sync(), o.file.Close()) }
