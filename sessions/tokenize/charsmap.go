package tokenize

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap is SentencePiece's precompiled normaliser: a double-array trie
// (darts-clone) from byte strings to replacement texts.
//
// Binary form: uint32 size of the trie in bytes, the trie as little-endian
// uint32 units, then the replacements, each closed by a zero byte.
type charsmap struct {
	units        []uint32
	replacements string
}

func parseCharsmap(data []byte) (*charsmap, error) {
	if len(data) < 4 {
		return nil, errors.New("precompiled charsmap is shorter than its size field")
	}
	size := binary.LittleEndian.Uint32(data)
	data = data[4:]
	if size == 0 || size%4 != 0 || uint64(size) > uint64(len(data)) {
		return nil, fmt.Errorf("precompiled charsmap: trie of %d bytes does not fit %d bytes of data", size, len(data))
	}
	c := &charsmap{units: make([]uint32, size/4), replacements: string(data[size:])}
	for i := range c.units {
		c.units[i] = binary.LittleEndian.Uint32(data[4*i:])
	}
	if !utf8.ValidString(c.replacements) {
		return nil, errors.New("precompiled charsmap: replacements are not valid UTF-8")
	}
	return c, nil
}

// maxMappedGrapheme is the number of bytes from which on a grapheme is not
// looked up as a whole, as in the tokenizers library.
const maxMappedGrapheme = 6

// normalize rewrites text grapheme by grapheme: a short grapheme is replaced
// as a whole if the map knows a prefix of it, otherwise each of its characters
// is replaced on its own. A nil map changes nothing.
func (c *charsmap) normalize(text string) string {
	if c == nil {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + len(text)/8)
	shape := strings.Map(knownMark, text)
	for len(text) > 0 {
		size := firstGrapheme(shape)
		grapheme := text[:size]
		text, shape = text[size:], shape[size:]
		if len(grapheme) < maxMappedGrapheme {
			if replacement, ok := c.lookup(grapheme); ok {
				out.WriteString(replacement)
				continue
			}
		}
		c.normalizeRunes(&out, grapheme)
	}
	return out.String()
}

func (c *charsmap) normalizeRunes(out *strings.Builder, grapheme string) {
	for len(grapheme) > 0 {
		_, size := utf8.DecodeRuneInString(grapheme)
		if replacement, ok := c.lookup(grapheme[:size]); ok {
			out.WriteString(replacement)
		} else {
			out.WriteString(grapheme[:size])
		}
		grapheme = grapheme[size:]
	}
}

// firstGrapheme returns the size in bytes of the first extended grapheme cluster of text.
func firstGrapheme(text string) int {
	// Two ASCII characters in a row are two graphemes, except for "\r\n".
	if text[0] < utf8.RuneSelf && text[0] != '\r' && (len(text) == 1 || text[1] < utf8.RuneSelf) {
		return 1
	}
	grapheme, _, _, _ := uniseg.FirstGraphemeClusterInString(text, -1)
	return len(grapheme)
}

// knownMark stands in for the combining marks of Unicode 16 and 17, which
// uniseg (Unicode 15) does not know, a mark that it knows and that is as long
// in UTF-8. Marks of four bytes never fit into a mapped grapheme and are left out.
func knownMark(r rune) rune {
	switch {
	case r == 0x0897, r >= 0x1ACF && r <= 0x1ADD, r >= 0x1AE0 && r <= 0x1AEB:
		return 0x20D0
	}
	return r
}

// Fields of a double-array unit.
func unitOffset(unit uint32) uint32 { return (unit >> 10) << ((unit & (1 << 9)) >> 6) }
func unitLabel(unit uint32) uint32  { return unit & (1<<31 | 0xFF) }
func unitHasLeaf(unit uint32) bool  { return unit>>8&1 == 1 }
func unitValue(unit uint32) uint32  { return unit & (1<<31 - 1) }

// lookup returns the replacement of the shortest prefix of key that the map
// knows. The shortest, not the longest: transformers tokenizes this way.
func (c *charsmap) lookup(key string) (string, bool) {
	node := unitOffset(c.units[0])
	for i := range len(key) {
		label := uint32(key[i])
		node ^= label
		if label == 0 || uint64(node) >= uint64(len(c.units)) {
			return "", false
		}
		unit := c.units[node]
		if unitLabel(unit) != label {
			return "", false
		}
		node ^= unitOffset(unit)
		if unitHasLeaf(unit) && uint64(node) < uint64(len(c.units)) {
			return c.replacement(unitValue(c.units[node]))
		}
	}
	return "", false
}

func (c *charsmap) replacement(index uint32) (string, bool) {
	if uint64(index) > uint64(len(c.replacements)) {
		return "", false
	}
	text := c.replacements[index:]
	if end := strings.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	return text, true
}
