// Package tokenize turns captions into the token ids that text encoders expect.
//
// T5 reproduces the fast T5 tokenizers of the transformers library: the same
// text gives the same ids, including where those differ from the SentencePiece
// library itself (special tokens written out in the text, the normaliser
// applied per grapheme, splitting at every Unicode white space).
//
// A loaded tokenizer is immutable, so any number of goroutines may use it.
package tokenize

import (
	"strings"
	"unicode"
)

// metaspace marks the start of a word in the vocabulary; it stands for a space.
const metaspace = '▁'

// T5 is a SentencePiece Unigram tokenizer as used by T5 text encoders.
type T5 struct {
	normalizer *charsmap
	model      *unigram

	// special tokens are found in the raw text, userTokens in the normalised text.
	special    *tokenMatcher
	userTokens *tokenMatcher

	eosID, padID int32
	maxLength    int
}

// Encode returns the token ids of text, closed by the end-of-sequence id.
//
// With maxLength > 0 the ids are cut to maxLength (the last one stays the
// end-of-sequence id) or padded to maxLength; length counts the ids that are
// not padding, so the attention mask is 1 for i < length and 0 after it.
// With maxLength <= 0 nothing is cut or padded.
func (t *T5) Encode(text string, maxLength int) (ids []int32, length int) {
	// Python strings hold no broken UTF-8; Go strings may.
	text = strings.ToValidUTF8(text, "\uFFFD")

	e := encoder{tokenizer: t, limit: maxLength - 1}
	e.encode(text)
	ids = e.ids
	if maxLength > 0 && len(ids) >= maxLength {
		ids = ids[:maxLength-1]
	}
	ids = append(ids, t.eosID)
	length = len(ids)
	for len(ids) < maxLength {
		ids = append(ids, t.padID)
	}
	return ids, length
}

// MaxLength is the length the tokenizer's configuration names
// (model_max_length), or 0 if it names none.
func (t *T5) MaxLength() int { return t.maxLength }

// EOS is the end-of-sequence id.
func (t *T5) EOS() int32 { return t.eosID }

// Pad is the padding id.
func (t *T5) Pad() int32 { return t.padID }

// encoder is the state of one Encode call.
type encoder struct {
	tokenizer *T5
	limit     int // stop once this many ids are known; negative: never
	ids       []int32
	word      []byte
	lattice   lattice
}

func (e *encoder) full() bool { return e.limit >= 0 && len(e.ids) >= e.limit }

func (e *encoder) encode(text string) {
	t := e.tokenizer
	t.special.split(text, e.appendID, func(raw string) {
		if e.full() {
			return
		}
		t.userTokens.split(t.normalizer.normalize(raw), e.appendID, e.encodeWords)
	})
}

func (e *encoder) appendID(id int32) { e.ids = append(e.ids, id) }

// encodeWords splits normalised text at white space and encodes each word,
// with the word-start mark in front unless the word already has one.
func (e *encoder) encodeWords(text string) {
	for len(text) > 0 && !e.full() {
		text = strings.TrimLeftFunc(text, unicode.IsSpace)
		end := strings.IndexFunc(text, unicode.IsSpace)
		if end < 0 {
			end = len(text)
		}
		if end > 0 {
			e.encodeWord(text[:end])
		}
		text = text[end:]
	}
}

// encodeWord encodes a word; a word-start mark inside it starts a new piece.
func (e *encoder) encodeWord(word string) {
	const mark = string(metaspace)
	e.word = e.word[:0]
	if !strings.HasPrefix(word, mark) {
		e.word = append(e.word, mark...)
	}
	e.word = append(e.word, word...)

	rest := string(e.word)
	for len(rest) > 0 {
		end := strings.Index(rest[len(mark):], mark)
		if end < 0 {
			end = len(rest)
		} else {
			end += len(mark)
		}
		e.ids = e.tokenizer.model.encode(e.ids, rest[:end], &e.lattice)
		rest = rest[end:]
	}
}
