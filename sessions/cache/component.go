package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// settledAge is how old a file's time stamp must be before its hash is
// remembered: a younger file may change again without a new time stamp.
const settledAge = 5 * time.Second

// ComponentHash is the hash of the files of model component folders (vae,
// text_encoder, tokenizer): their names and content. Hashes of large files are
// remembered by path, size and time stamp, so that the next call is quick.
func (c *Cache) ComponentHash(folders ...string) (string, error) {
	hash := sha256.New()
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return "", fmt.Errorf("hash model component: %w", err)
		}
		fmt.Fprintf(hash, "folder %q\n", filepath.Base(folder))
		for _, entry := range entries {
			if strings.HasPrefix(entry.Name(), ".") {
				continue
			}
			sum, err := c.fileHash(filepath.Join(folder, entry.Name()))
			if err != nil {
				return "", fmt.Errorf("hash model component: %w", err)
			}
			fmt.Fprintf(hash, "file %q %s\n", entry.Name(), sum)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// fileHash is the SHA-256 of a file, or "folder" for a folder.
func (c *Cache) fileHash(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path) // model folders of download tools are full of links
	if err != nil {
		return "", err
	}
	if info.IsDir() {
		return "folder", nil
	}
	identity := fmt.Sprintf("%s\x00%d\x00%d", path, info.Size(), info.ModTime().UnixNano())
	name := sha256.Sum256([]byte(identity))
	memo := filepath.Join(c.dir, hashFolder, hex.EncodeToString(name[:]))
	if text, err := os.ReadFile(memo); err == nil && len(text) == 2*sha256.Size {
		return string(text), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	sum, err := sumFile(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", err
	}
	if time.Since(info.ModTime()) > settledAge {
		if err := c.remember(memo, sum.SHA256); err != nil {
			return "", err
		}
	}
	return sum.SHA256, nil
}

// remember writes a memo so that others see it whole or not at all.
func (c *Cache) remember(memo, text string) error {
	file, err := os.CreateTemp(c.temp, "hash-")
	if err != nil {
		return err
	}
	if err := errors.Join(c.disk.write(file, []byte(text)), file.Close()); err != nil {
		return err
	}
	return c.disk.rename(file.Name(), memo)
}
