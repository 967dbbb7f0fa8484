package job

import (
	"fmt"
	"regexp"
	"strings"
)

// CaptionFilter changes captions.
type CaptionFilter struct {
	pattern     *regexp.Regexp // nil: text is removed
	replacement string
	text        string
}

// ParseCaptionFilter reads "s/pattern/replacement/", whose parts hold no slash, or a text to remove.
func ParseCaptionFilter(line string) (CaptionFilter, error) {
	if !strings.HasPrefix(line, "s/") {
		if line == "" {
			return CaptionFilter{}, fmt.Errorf("caption filter is empty; name a text to remove or s/pattern/replacement/")
		}
		return CaptionFilter{text: line}, nil
	}
	parts := strings.Split(line, "/")
	if len(parts) != 4 || parts[3] != "" {
		return CaptionFilter{}, fmt.Errorf("caption filter %q is not s/pattern/replacement/", line)
	}
	pattern, err := regexp.Compile(parts[1])
	if err != nil {
		return CaptionFilter{}, fmt.Errorf("caption filter %q: %w", line, err)
	}
	return CaptionFilter{pattern: pattern, replacement: parts[2]}, nil
}

// Apply returns the changed caption.
func (f CaptionFilter) Apply(caption string) string {
	if f.pattern != nil {
		return f.pattern.ReplaceAllLiteralString(caption, f.replacement)
	}
	return strings.ReplaceAll(caption, f.text, "")
}
