package tokenize

import (
	"slices"
	"strings"
	"unicode"
)

// addedToken is a token that is matched literally before the model sees the text.
type addedToken struct {
	Content    string `json:"content"`
	LStrip     bool   `json:"lstrip"` // swallow white space before it
	RStrip     bool   `json:"rstrip"` // swallow white space after it
	Normalized bool   `json:"normalized"`
	SingleWord bool   `json:"single_word"`
	id         int32
}

// tokenMatcher finds added tokens in a text: leftmost first, then longest.
type tokenMatcher struct {
	byFirstByte [256][]addedToken // longest first
}

func newTokenMatcher(tokens []addedToken) *tokenMatcher {
	m := &tokenMatcher{}
	for _, t := range tokens {
		first := t.Content[0]
		m.byFirstByte[first] = append(m.byFirstByte[first], t)
	}
	for _, list := range m.byFirstByte {
		slices.SortStableFunc(list, func(a, b addedToken) int { return len(b.Content) - len(a.Content) })
	}
	return m
}

// split calls token for every added token in text and plain for the texts
// between them, in order. Empty texts are not reported.
func (m *tokenMatcher) split(text string, token func(id int32), plain func(text string)) {
	done := 0 // text[:done] has been reported
	for pos := 0; pos < len(text); {
		found := m.at(text[pos:])
		if found == nil {
			pos++
			continue
		}
		start, end := pos, pos+len(found.Content)
		pos = end
		if found.LStrip {
			start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if found.RStrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		if done < start {
			plain(text[done:start])
		}
		token(found.id)
		done = end
	}
	if done < len(text) {
		plain(text[done:])
	}
}

// at returns the longest token that text starts with, or nil.
func (m *tokenMatcher) at(text string) *addedToken {
	list := m.byFirstByte[text[0]]
	for i := range list {
		if strings.HasPrefix(text, list[i].Content) {
			return &list[i]
		}
	}
	return nil
}
