package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// formatVersion is part of every key; raise it when the content of entries changes.
const formatVersion = 1

// Recipe is everything that decides the content of an entry.
type Recipe struct {
	// Kind of entry: "latents", "text".
	Kind string `json:"kind"`
	// Component is the hash of the model parts that make the entry (Cache.ComponentHash).
	Component string `json:"component"`
	// Settings are all settings that change the result, as a value that encoding/json turns into the same text every
	// time: size, crop, precision, number of tokens.
	Settings any `json:"settings"`
	// Source is the hash of the picture file, or the caption.
	Source string `json:"source"`
}

// Key addresses an entry: a SHA-256 in 64 hexadecimal digits.
type Key string

// Key computes the address of what the recipe makes.
func (r Recipe) Key() (Key, error) {
	text, err := json.Marshal(struct {
		Version int    `json:"version"`
		Recipe  Recipe `json:"recipe"`
	}{formatVersion, r})
	if err != nil {
		return "", fmt.Errorf("cache key of %s: settings: %w", r.Kind, err)
	}
	sum := sha256.Sum256(text)
	return Key(hex.EncodeToString(sum[:])), nil
}

func (k Key) check() error {
	if sum, err := hex.DecodeString(string(k)); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("%q is not a cache key", string(k))
	}
	return nil
}
