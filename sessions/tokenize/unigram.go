package tokenize

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// unknownPenalty is how much worse than the worst piece an unknown character scores.
const unknownPenalty = 10

// piece is a vocabulary entry; its id is its position in the vocabulary.
type piece struct {
	text  string
	score float64 // log probability
}

// unigram is a SentencePiece Unigram model: it splits a word into the pieces
// with the largest sum of log probabilities.
type unigram struct {
	scores       []float64
	trie         pieceTrie
	unknownID    int32
	unknownScore float64
}

func newUnigram(vocabulary []piece, unknownID int32) (*unigram, error) {
	if int(unknownID) >= len(vocabulary) {
		return nil, fmt.Errorf("vocabulary has %d pieces, so the unknown piece %d is missing", len(vocabulary), unknownID)
	}
	if len(vocabulary) > math.MaxInt32/2 {
		return nil, errors.New("vocabulary is too large")
	}
	m := &unigram{
		scores:       make([]float64, len(vocabulary)),
		trie:         newPieceTrie(len(vocabulary)),
		unknownID:    unknownID,
		unknownScore: math.Inf(1),
	}
	for id, p := range vocabulary {
		if !utf8.ValidString(p.text) {
			return nil, fmt.Errorf("piece %d (%q) is not valid UTF-8", id, p.text)
		}
		m.scores[id] = p.score
		m.unknownScore = math.Min(m.unknownScore, p.score)
		m.trie.insert(p.text, int32(id))
	}
	m.unknownScore -= unknownPenalty
	return m, nil
}

// latticeNode is the best way found so far to reach a byte position.
type latticeNode struct {
	score float64
	start int32 // where the last piece starts; negative: not reached yet
	id    int32 // the last piece
}

// lattice is the reusable memory of one best-path search.
type lattice []latticeNode

func (l *lattice) reset(size int) {
	*l = slices.Grow((*l)[:0], size+1)[:size+1]
	(*l)[0] = latticeNode{}
	for i := 1; i <= size; i++ {
		(*l)[i].start = -1
	}
}

// relax offers a path of the given score that ends in piece id; the first of
// equally good paths stays.
func (l lattice) relax(start, end int, id int32, score float64) {
	node := &l[end]
	if node.start < 0 || score > node.score {
		*node = latticeNode{score: score, start: int32(start), id: id}
	}
}

// encode appends the ids of the best split of word, which must be valid UTF-8.
// Neighbouring unknown characters become one unknown id.
func (m *unigram) encode(ids []int32, word string, l *lattice) []int32 {
	l.reset(len(word))
	nodes := *l
	for start := 0; start < len(word); {
		_, charLen := utf8.DecodeRuneInString(word[start:])
		known := false
		trieNode := int32(0)
		for end := start; end < len(word); {
			next, ok := m.trie.child(trieNode, word[end])
			if !ok {
				break
			}
			end++
			trieNode = next
			if id := m.trie.ids[trieNode]; id >= 0 {
				nodes.relax(start, end, id, m.scores[id]+nodes[start].score)
				known = known || end-start == charLen
			}
		}
		if !known {
			nodes.relax(start, start+charLen, m.unknownID, m.unknownScore+nodes[start].score)
		}
		start += charLen
	}
	return m.backtrack(ids, word, nodes)
}

func (m *unigram) backtrack(ids []int32, word string, nodes lattice) []int32 {
	first := len(ids)
	for end := len(word); end > 0; {
		node := nodes[end]
		start := int(node.start)
		id := node.id
		if id == m.unknownID {
			for start > 0 && nodes[start].id == m.unknownID {
				start = int(nodes[start].start)
			}
			id = m.lookup(word[start:end])
		}
		ids = append(ids, id)
		end = start
	}
	slices.Reverse(ids[first:])
	return ids
}

// lookup returns the id of the piece that is exactly text, else the unknown id.
func (m *unigram) lookup(text string) int32 {
	if id, ok := m.trie.find(text); ok {
		return id
	}
	return m.unknownID
}

// pieceTrie is a byte trie over the vocabulary. Node 0 is the root.
type pieceTrie struct {
	root     [256]int32       // children of the root; 0: none
	children map[uint64]int32 // node<<8 | byte -> child
	ids      []int32          // piece that ends at the node, or -1
}

func newPieceTrie(pieces int) pieceTrie {
	return pieceTrie{children: make(map[uint64]int32, 2*pieces), ids: []int32{-1}}
}

func (t *pieceTrie) child(node int32, b byte) (int32, bool) {
	if node == 0 {
		next := t.root[b]
		return next, next != 0
	}
	next, ok := t.children[uint64(node)<<8|uint64(b)]
	return next, ok
}

func (t *pieceTrie) insert(text string, id int32) {
	node := int32(0)
	for i := range len(text) {
		next, ok := t.child(node, text[i])
		if !ok {
			next = int32(len(t.ids))
			t.ids = append(t.ids, -1)
			if node == 0 {
				t.root[text[i]] = next
			} else {
				t.children[uint64(node)<<8|uint64(text[i])] = next
			}
		}
		node = next
	}
	if node != 0 {
		t.ids[node] = id
	}
}

func (t *pieceTrie) find(text string) (id int32, ok bool) {
	node := int32(0)
	for i := range len(text) {
		if node, ok = t.child(node, text[i]); !ok {
			return 0, false
		}
	}
	return t.ids[node], t.ids[node] >= 0
}
