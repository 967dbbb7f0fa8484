package cache

import (
	"errors"
	"os"
)

// disk is the operations that change the cache's folder. Fault, which only tests set, is called with the name of each
// before it is done, and its error is the operation's.
type disk struct{ fault func(operation string) error }

func (d disk) at(operation string) error {
	if d.fault == nil {
		return nil
	}
	return d.fault(operation)
}

func (d disk) mkdirAll(path string) error {
	if err := d.at("mkdir"); err != nil {
		return err
	}
	return os.MkdirAll(path, 0o777)
}

func (d disk) mkdirTemp(dir, pattern string) (string, error) {
	if err := d.at("mkdir"); err != nil {
		return "", err
	}
	return os.MkdirTemp(dir, pattern)
}

func (d disk) rename(from, to string) error {
	if err := d.at("rename"); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (d disk) removeAll(path string) error {
	if err := d.at("remove"); err != nil {
		return err
	}
	return os.RemoveAll(path)
}

func (d disk) sync(file *os.File) error {
	if err := d.at("sync"); err != nil {
		return err
	}
	return file.Sync()
}

// write leaves half a file when it fails, as a full disk does.
func (d disk) write(file *os.File, data []byte) error {
	if err := d.at("write"); err != nil {
		_, half := file.Write(data[:len(data)/2])
		return errors.Join(err, half)
	}
	_, err := file.Write(data)
	return err
}
