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

// captions finds the captions of a picture, at least one. empty tells that there is none and the empty one is used.
func (s *source) captions(d *job.Dataset, filters []job.CaptionFilter, p picture) (texts []string, empty bool, err error) {
	raw, err := s.rawCaptions(d, p)
	if err != nil {
		return nil, false, err
	}
	for _, text := range shuffled(d, raw) {
		for _, filter := range filters {
			text = filter.Apply(text)
		}
		if text == "" {
			text = d.DefaultCaption
		}
		if text = withTrigger(withPrefix(text, d.CaptionPrefix), d.Trigger); text != "" {
			texts = append(texts, text)
		}
	}
	if len(texts) > 0 {
		return texts, false, nil
	}
	if d.RequireCaptions {
		return nil, true, errors.New("has no caption: " + captionRemedy(d, p))
	}
	return []string{""}, true, nil
}

// split makes captions of the lines of a text, if the dataset wants that; at least one.
func split(d *job.Dataset, text string) []string {
	if !d.SplitCaptions {
		return []string{text}
	}
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return []string{""}
	}
	return lines
}

// shuffled adds the variants of the captions, if the dataset wants that.
func shuffled(d *job.Dataset, captions []string) []string {
	if d.Shuffle == nil {
		return captions
	}
	var all []string
	for _, caption := range captions {
		all = append(all, shuffle(d.Shuffle, caption)...)
	}
	return all
}

func withPrefix(caption, prefix string) string {
	if prefix == "" || caption == "" {
		return prefix + caption
	}
	return prefix + " " + caption
}

func captionFilters(d *job.Dataset) ([]job.CaptionFilter, error) {
	var filters []job.CaptionFilter
	for _, line := range d.CaptionFilters {
		filter, err := job.ParseCaptionFilter(line)
		if err != nil {
			return nil, err
		}
		filters = append(filters, filter)
	}
	return filters, nil
}

func captionRemedy(d *job.Dataset, p picture) string {
	switch {
	case d.Captions == job.CaptionsTable:
		return "fill its row in " + d.Table.Path + ", or name a fallback_caption_column"
	case p.mapped || d.Captions != job.CaptionsTextFile && d.Captions != "":
		return "set default_caption"
	}
	return fmt.Sprintf("write one into %s or set default_caption", captionFile(d, p))
}

// rawCaptions returns the captions without defaults, at least one; "" if there is none.
func (s *source) rawCaptions(d *job.Dataset, p picture) ([]string, error) {
	if p.mapped {
		return split(d, p.captions[0]), nil
	}
	switch d.Captions {
	case job.CaptionsFixed:
		return []string{d.DefaultCaption}, nil
	case job.CaptionsFilename:
		return []string{strings.ReplaceAll(stem(path.Base(p.name)), "_", " ")}, nil
	case job.CaptionsTable:
		if len(p.captions) == 0 {
			return []string{""}, nil
		}
		return p.captions, nil
	case "", job.CaptionsTextFile:
		text, err := s.captionText(captionFile(d, p))
		return split(d, text), err
	}
	return nil, fmt.Errorf("captions %q are unknown", d.Captions)
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
		return "", fmt.Errorf("caption file %s is not UTF-8 text; save it in that encoding", name)
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
