package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/stepd/stepd/sessions/engine"
)

// Size of a picture in pixels.
type Size struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

func (s Size) String() string { return fmt.Sprintf("%dx%d", s.Width, s.Height) }

// Placement says which part of a picture is trained on: the picture, upright,
// is resized to Resize, and the rectangle of size Bucket whose left upper
// corner is at (CropX, CropY) is cut out.
type Placement struct {
	Bucket Size `json:"bucket"`
	Resize Size `json:"resize"`
	CropX  int  `json:"crop_x"`
	CropY  int  `json:"crop_y"`
}

// Sample is one element of the data set: a picture, or a mirrored copy of it,
// with its caption.
type Sample struct {
	// ID names the sample in messages: dataset, path within it, mirroring.
	ID string `json:"id"`
	// Dataset is the ID of the job's dataset.
	Dataset string `json:"dataset"`
	// Path of the picture, absolute.
	Path string `json:"path"`
	// Hash is the SHA-256 of the picture file in hexadecimal digits.
	Hash    string `json:"hash"`
	Caption string `json:"caption"`
	Placement
	// FlipX and FlipY mirror the cut-out left to right and top to bottom.
	FlipX bool `json:"flip_x,omitempty"`
	FlipY bool `json:"flip_y,omitempty"`
	// Repeats is how often the sample counts in an epoch, at least 1.
	Repeats int `json:"repeats"`
	// Variant is the number of the caption among those of its picture, from 0. Samples that differ only in it follow each
	// other and count as one: at each use, one of them is drawn.
	Variant int `json:"variant,omitempty"`

	// Number counts pictures and their mirrored copies, whatever their captions; random crops follow from it.
	Number int `json:"number,omitempty"`

	captions []string // all, while the manifest is built
}

// withCaptions lists the sample with each of its captions.
func (s Sample) withCaptions() []Sample {
	captions := s.captions
	s.captions = nil
	variants := []Sample{s}
	for i, caption := range captions[1:] {
		s.Caption, s.Variant = caption, i+1
		s.ID = fmt.Sprintf("%s (caption %d)", variants[0].ID, i+2)
		variants = append(variants, s)
	}
	return variants
}

// ImageItem asks an engine to encode the sample into the file out.
func (s *Sample) ImageItem(out string) engine.ImageItem {
	return engine.ImageItem{
		Path:        s.Path,
		ResizeWidth: s.Resize.Width, ResizeHeight: s.Resize.Height,
		CropX: s.CropX, CropY: s.CropY,
		Width: s.Bucket.Width, Height: s.Bucket.Height,
		FlipX: s.FlipX, FlipY: s.FlipY,
		Out: out,
	}
}

// Problem is a picture that cannot be trained on, and why.
type Problem struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (p Problem) String() string { return p.Path + ": " + p.Reason }

// Manifest is the outcome of Build.
type Manifest struct {
	// Samples in the order of the datasets and, within a dataset, of the file names; positions in this list are the
	// sample numbers of micro-batches.
	Samples []Sample `json:"samples"`
	// Filtered lists pictures that the job's size limits leave out.
	Filtered []Problem `json:"filtered,omitempty"`
	// Bad lists pictures that could not be used; empty unless the request skips them.
	Bad []Problem `json:"bad,omitempty"`
	// Warnings are remarks for the user.
	Warnings []string `json:"warnings,omitempty"`
}

// Buckets lists the sizes that occur, in the order of their first sample.
func (m *Manifest) Buckets() []Size {
	var sizes []Size
	seen := map[Size]bool{}
	for i := range m.Samples {
		if size := m.Samples[i].Bucket; !seen[size] {
			seen[size] = true
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// Fingerprint is a hash of everything in the samples that decides what a run
// computes. Folders may move without changing it.
func (m *Manifest) Fingerprint() (string, error) {
	hash := sha256.New()
	encoder := json.NewEncoder(hash)
	for _, s := range m.Samples {
		s.ID, s.Dataset, s.Path, s.Number = "", "", "", 0
		if err := encoder.Encode(s); err != nil {
			return "", fmt.Errorf("fingerprint of %d samples: %w", len(m.Samples), err)
		}
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
