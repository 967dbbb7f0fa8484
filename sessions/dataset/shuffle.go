package dataset

import (
	"crypto/md5"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/job"
)

// separators are between tags: what a caption is split at, and what its tags are joined with.
var separators = map[string][2]string{
	job.SplitComma: {",", ", "}, job.SplitSpace: {" ", " "}, job.SplitPeriod: {".", ". "},
}

// shuffle makes variants of a caption with its tags in other orders, without doubles: those that SimpleTuner makes with the
// same seed. A caption with less than two tags to move stays as it is.
func shuffle(s *job.CaptionShuffle, caption string) []string {
	separator := separators[s.SplitOn]
	var tags []string
	for tag := range strings.SplitSeq(caption, separator[0]) {
		if tag = strings.TrimSpace(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	fixed := min(s.Keep, len(tags))
	if len(tags)-fixed < 2 {
		return []string{caption}
	}
	var variants []string
	if s.WithOriginal {
		variants = append(variants, caption)
	}
	sum := md5.Sum([]byte(caption))
	seed := s.Seed + uint64(binary.BigEndian.Uint32(sum[len(sum)-4:]))
	for i := range uint64(s.Count) {
		moved := slices.Clone(tags)
		newPythonGenerator(seed + i).shuffle(moved[fixed:])
		if variant := strings.Join(moved, separator[1]); !slices.Contains(variants, variant) {
			variants = append(variants, variant)
		}
	}
	return variants
}

// newPythonGenerator is Python's random.Random(seed): mt19937 seeded by the 32-bit digits of a number (init_by_array of
// Matsumoto and Nishimura's mt19937ar.c).
func newPythonGenerator(seed uint64) *generator {
	key := []uint32{uint32(seed)}
	if high := uint32(seed >> 32); high > 0 {
		key = append(key, high)
	}
	g := newGenerator(19650218)
	i, j := 1, 0
	advance := func() {
		if i++; i == stateSize {
			g.state[0] = g.state[stateSize-1]
			i = 1
		}
	}
	for range stateSize { // the longer one of state and key
		previous := g.state[i-1]
		g.state[i] = (g.state[i] ^ (previous^previous>>30)*1664525) + key[j] + uint32(j)
		advance()
		j = (j + 1) % len(key)
	}
	for range stateSize - 1 {
		previous := g.state[i-1]
		g.state[i] = (g.state[i] ^ (previous^previous>>30)*1566083941) - uint32(i)
		advance()
	}
	g.state[0] = upperBit
	return g
}

// shuffle is Python's random.shuffle of less than 2^32 elements.
func (g *generator) shuffle(list []string) {
	for i := len(list) - 1; i > 0; i-- {
		shift := 32 - bits.Len(uint(i+1))
		j := g.uint32() >> shift
		for j > uint32(i) {
			j = g.uint32() >> shift
		}
		list[i], list[j] = list[j], list[i]
	}
}
