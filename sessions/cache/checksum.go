package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// errDamaged means that an entry is there but not as it was published.
var errDamaged = errors.New("cache entry is damaged")

// checksum is the content of checksum.json.
type checksum struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// sumFile reads a whole file.
func sumFile(file io.Reader) (checksum, error) {
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	return checksum{Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))}, err
}

// seal checks the file of a new entry, writes its checksum beside it and syncs both to disk.
func (d disk) seal(folder string) error {
	file, err := os.OpenFile(filepath.Join(folder, dataFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	sum, err := d.sealFile(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	text, err := json.Marshal(sum)
	if err != nil {
		return err
	}
	return d.writeSynced(filepath.Join(folder, checksumFile), text)
}

func (d disk) sealFile(file *os.File) (checksum, error) {
	if err := checkSafetensors(file); err != nil {
		return checksum{}, fmt.Errorf("%s: %w", file.Name(), err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return checksum{}, err
	}
	sum, err := sumFile(file)
	if err != nil {
		return checksum{}, err
	}
	return sum, d.sync(file)
}

func (d disk) writeSynced(path string, text []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(d.write(file, text), d.sync(file), file.Close())
}

// checkSafetensors refuses a file that is not a whole safetensors file: its
// header must describe exactly the bytes that are there.
func checkSafetensors(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	var headerSize uint64
	if err := binary.Read(file, binary.LittleEndian, &headerSize); err != nil {
		return fmt.Errorf("has no safetensors header: %w", err)
	}
	if headerSize > uint64(info.Size())-8 {
		return fmt.Errorf("is cut short: header of %d bytes in a file of %d", headerSize, info.Size())
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(file, header); err != nil {
		return err
	}
	var tensors map[string]json.RawMessage
	if err := json.Unmarshal(header, &tensors); err != nil {
		return fmt.Errorf("has a broken safetensors header: %w", err)
	}
	delete(tensors, "__metadata__")
	end := int64(0)
	for name, raw := range tensors {
		var tensor struct {
			Offsets [2]int64 `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &tensor); err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		end = max(end, tensor.Offsets[1])
	}
	if want := 8 + int64(headerSize) + end; want != info.Size() {
		return fmt.Errorf("has %d bytes, its header describes %d", info.Size(), want)
	}
	return nil
}

// verify compares an entry with its checksum. The error is fs.ErrNotExist if
// there is no entry and errDamaged if it differs.
func verify(folder string) error {
	if _, err := os.Lstat(folder); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(folder, checksumFile))
	if err != nil {
		return damagedIfMissing(folder, err)
	}
	var want checksum
	if err := json.Unmarshal(text, &want); err != nil {
		return errDamaged
	}
	file, err := os.Open(filepath.Join(folder, dataFile))
	if err != nil {
		return damagedIfMissing(folder, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() != want.Size {
		return errDamaged
	}
	got, err := sumFile(file)
	if err != nil {
		return err
	}
	if got != want {
		return errDamaged
	}
	return nil
}

// damagedIfMissing tells an entry that lacks a file from one that somebody
// else removed meanwhile.
func damagedIfMissing(folder string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(folder); err != nil {
		return err
	}
	return errDamaged
}
