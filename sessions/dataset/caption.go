package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/stepd/stepd/sessions/job"
)

// maxCaptionBytes bounds a caption file; longer ones are surely something else.
const maxCaptionBytes = 1 << 20

const defaultCaptionExtension = ".txt"

// caption finds the caption of a picture. empty tells that there is none and
// the empty one is used.
func (s *source) caption(d *job.Dataset, p picture) (text string, empty bool, err error) {
	text, err = s.rawCaption(d, p)
	if err != nil {
		return "", false, err
	}
	if text == "" {
		text = d.DefaultCaption
	}
	text = withTrigger(text, d.Trigger)
	if text == "" && d.RequireCaptions {
		return "", true, errors.New("has no caption: " + captionRemedy(d, p))
	}
	return text, text == "", nil
}

func captionRemedy(d *job.Dataset, p picture) string {
	if p.caption != nil || d.Captions != job.CaptionsTextFile && d.Captions != "" {
		return "set default_caption"
	}
	return fmt.Sprintf("write one into %s or set default_caption", captionFile(d, p))
}

// rawCaption returns the caption without defaults; "" if there is none.
func (s *source) rawCaption(d *job.Dataset, p picture) (string, error) {
	if p.caption != nil {
		return *p.caption, nil
	}
	switch d.Captions {
	case job.CaptionsFixed:
		return d.DefaultCaption, nil
	case job.CaptionsFilename:
		return strings.ReplaceAll(stem(path.Base(p.name)), "_", " "), nil
	case "", job.CaptionsTextFile:
		return s.captionText(captionFile(d, p))
	}
	return "", fmt.Errorf("captions %q are unknown", d.Captions)
}

func stem(name string) string { return strings.TrimSuffix(name, path.Ext(name)) }

// captionFile names the text file beside a picture.
func captionFile(d *job.Dataset, p picture) string {
	extension := d.CaptionExtension
	if extension == "" {
		extension = defaultCaptionExtension
	}
	return stem(p.name) + extension
}

func (s *source) captionText(name string) (string, error) {
	data, err := s.readText(name, maxCaptionBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("caption file %s: %w", name, err)
	}
	if !utf8.Valid(data) {
		return "", fmt.Errorf("caption file %s is not UTF-8 text", name)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(data), "\uFEFF")), nil
}

// withTrigger puts the trigger word where the caption asks for it, else in
// front of captions that lack it (as ai-toolkit does).
func withTrigger(caption, trigger string) string {
	if strings.TrimSpace(trigger) == "" {
		return caption
	}
	caption = strings.NewReplacer("[trigger]", trigger, "[name]", trigger).Replace(caption)
	switch {
	case strings.Contains(caption, trigger):
		return caption
	case caption == "":
		return trigger
	}
	return trigger + " " + caption
}
