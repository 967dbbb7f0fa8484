package tokenize

import (
	"strings"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Clean prepares a caption or prompt as the PixArt pipeline of diffusers does without its optional caption cleaning: lower
// case, and no white space at the ends.
func Clean(text string) string { return strings.TrimSpace(cases.Lower(language.Und).String(text)) }
