package tokenize

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// unpack writes the gzipped files of testdata/name into a fresh folder.
func unpack(t testing.TB, name string) string {
	t.Helper()
	dir := t.TempDir()
	packed, err := filepath.Glob(filepath.Join("testdata", name, "*.gz"))
	require.NoError(t, err)
	require.NotEmpty(t, packed)
	for _, path := range packed {
		file := filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".gz"))
		require.NoError(t, os.WriteFile(file, readGzip(t, path), 0o600))
	}
	return dir
}

func readGzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	return data
}

func loadTestdata(t testing.TB, name string) *T5 {
	t.Helper()
	tokenizer, err := Load(unpack(t, name))
	require.NoError(t, err)
	return tokenizer
}

type golden struct {
	Text string  `json:"text"`
	IDs  []int32 `json:"ids"`
}

func readGoldens(t testing.TB, name string) []golden {
	t.Helper()
	var goldens []golden
	require.NoError(t, json.Unmarshal(readGzip(t, filepath.Join("testdata", name, "golden.json.gz")), &goldens))
	return goldens
}

// TestGoldenIDs compares with the ids transformers gives for awkward texts:
// "t5" is the real vocabulary as tokenizer.json (ids cut to 512),
// "pixart-tiny" a small one as spiece.model.
func TestGoldenIDs(t *testing.T) {
	for _, tt := range []struct {
		name      string
		maxLength int // of the tokenizer's configuration
		cut       int
	}{
		{name: "t5", maxLength: 512, cut: 512},
		{name: "pixart-tiny", maxLength: 300, cut: 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tokenizer := loadTestdata(t, tt.name)
			assert.Equal(t, tt.maxLength, tokenizer.MaxLength())
			goldens := readGoldens(t, tt.name)
			require.GreaterOrEqual(t, len(goldens), 200)
			for _, g := range goldens {
				ids, length := tokenizer.Encode(g.Text, tt.cut)
				assert.Equal(t, g.IDs, ids[:length], "text %q", g.Text)
			}
		})
	}
}

func TestEncodeCutsAndPads(t *testing.T) {
	tokenizer := loadTestdata(t, "t5")
	for _, tt := range []struct {
		name      string
		text      string
		maxLength int
		ids       []int32
		length    int
	}{
		{"no limit", "hamburger", 0, []int32{31421, 1}, 2},
		{"padded", "hamburger", 4, []int32{31421, 1, 0, 0}, 2},
		{"exact", "award-winning;", 5, []int32{2760, 18, 8163, 117, 1}, 5},
		{"cut keeps the end", "award-winning;", 3, []int32{2760, 18, 1}, 3},
		{"room for the end only", "award-winning;", 1, []int32{1}, 1},
		{"empty", "", 3, []int32{1, 0, 0}, 1},
		{"special token written out", "</s><extra_id_0>", 0, []int32{1, 32099, 1}, 3},
		{"mapped character loses its mark", "\uFF21\u0301", 0, []int32{71, 1}, 2},
		{"a grapheme of six bytes is read by character", "\uFF21\u1AE0", 0, []int32{71, 2, 1}, 3},
		{"also a mark of Unicode 17", "\u00BD\u1AE0", 0, []int32{209, 2, 357, 1}, 4},
		{"broken UTF-8 is read as U+FFFD, which becomes a space", "hamburger\xffhamburger", 0, []int32{31421, 31421, 1}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ids, length := tokenizer.Encode(tt.text, tt.maxLength)
			assert.Equal(t, tt.ids, ids)
			assert.Equal(t, tt.length, length)
		})
	}
	assert.Equal(t, int32(1), tokenizer.EOS())
	assert.Equal(t, int32(0), tokenizer.Pad())
}

// A cut encoding is the beginning of the whole one: stopping early changes nothing.
func TestCutIsPrefix(t *testing.T) {
	tokenizer := loadTestdata(t, "pixart-tiny")
	for _, g := range readGoldens(t, "pixart-tiny") {
		for _, limit := range []int{1, 2, 7, 17} {
			ids, length := tokenizer.Encode(g.Text, limit)
			require.Len(t, ids, limit)
			keep := min(limit, len(g.IDs)) - 1
			require.Equal(t, keep+1, length)
			require.Equal(t, g.IDs[:keep], ids[:keep], "text %q, limit %d", g.Text, limit)
			require.Equal(t, tokenizer.EOS(), ids[keep])
		}
	}
}

func TestEncodeConcurrently(t *testing.T) {
	tokenizer := loadTestdata(t, "pixart-tiny")
	goldens := readGoldens(t, "pixart-tiny")
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for _, g := range goldens {
				ids, _ := tokenizer.Encode(g.Text, 0)
				assert.Equal(t, g.IDs, ids)
			}
		})
	}
	group.Wait()
}

// tinyVocabulary is a tokenizer.json without a normaliser.
const tinyVocabulary = `{"added_tokens": [%s], "normalizer": null, "model": {"type": "Unigram", "vocab":
	[["<pad>",0],["</s>",0],["<unk>",0],["▁",-2],["a",-1],["b",-1],["ab",-2],["▁a",-4]]}}`

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestAddedTokens(t *testing.T) {
	const config = `{"extra_ids": 1}`
	for _, tt := range []struct {
		name   string
		added  string
		config string
		text   string
		want   []int32
	}{
		{"first of equally good paths stays", ``, config, "ab", []int32{3, 6, 1}},
		{"unknown characters are fused", ``, config, "axyzb", []int32{3, 4, 2, 5, 1}},
		{"mark inside a word starts a piece", ``, config, "b▁a▁", []int32{3, 5, 3, 4, 3, 1}},
		{"sentinel after the vocabulary", ``, config, "<extra_id_0>", []int32{8, 1}},
		{"longest token wins", `{"content":"<x"},{"content":"<x>"}`, config, "<x><x", []int32{9, 8, 1}},
		{"stripped sides stay plain", `{"content":"<x>","lstrip":true,"rstrip":true}`, config, "b <x> b", []int32{3, 5, 8, 3, 5, 1}},
		{"normalised token", `{"content":"ba","normalized":true}`, config, "aba", []int32{3, 4, 8, 1}},
		{"configuration lists the tokens", ``, `{"additional_special_tokens":["<y>"]}`, "<y>", []int32{8, 1}},
		{"newer name of that list", ``, `{"extra_special_tokens":["<y>"]}`, "<y>", []int32{8, 1}},
		{"named tokens", ``, `{"extra_special_tokens":{"image_token":"<y>"},"extra_ids":0}`, "<y>", []int32{8, 1}},
		{"token objects", ``, `{"eos_token":{"content":"<end>"},"extra_ids":0}`, "a", []int32{3, 4, 8}},
		{"decoder order", ``, `{"added_tokens_decoder":{"9":{"content":"<q>"},"8":{"content":"<p>"}}}`, "<q><p>", []int32{9, 8, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := writeFiles(t, map[string]string{
				tokenizerFile: strings.Replace(tinyVocabulary, "%s", tt.added, 1),
				configFile:    tt.config,
			})
			tokenizer, err := Load(dir)
			require.NoError(t, err)
			ids, _ := tokenizer.Encode(tt.text, 0)
			assert.Equal(t, tt.want, ids)
		})
	}
}

func TestSpecialTokensMapOfOldFolders(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		tokenizerFile:     strings.Replace(tinyVocabulary, "%s", "", 1),
		configFile:        `{"extra_ids": 0}`,
		specialTokensFile: `{"eos_token": "<pad>", "additional_special_tokens": ["<z>"]}`,
	})
	tokenizer, err := Load(dir)
	require.NoError(t, err)
	ids, _ := tokenizer.Encode("<z>", 0)
	assert.Equal(t, []int32{8, 0}, ids)
}

func TestLoadErrors(t *testing.T) {
	tiny := strings.Replace(tinyVocabulary, "%s", "", 1)
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"empty folder", nil, "neither tokenizer.json nor spiece.model"},
		{"broken JSON", map[string]string{tokenizerFile: `{`}, "tokenizer.json: "},
		{"other model", map[string]string{tokenizerFile: `{"model":{"type":"BPE","vocab":{}}}`}, `"BPE"`},
		{"bad entry", map[string]string{tokenizerFile: `{"model":{"type":"Unigram","vocab":[["a"]]}}`}, "pair of text and score"},
		{"vocabulary too small", map[string]string{tokenizerFile: `{"model":{"type":"Unigram","vocab":[["a",0]]}}`}, "unknown piece 2"},
		{"bad charsmap", map[string]string{tokenizerFile: strings.Replace(tiny, "null",
			`{"type":"Precompiled","precompiled_charsmap":"AAAA"}`, 1)}, "charsmap"},
		{"broken configuration", map[string]string{tokenizerFile: tiny, configFile: `[]`}, "tokenizer_config.json"},
		{"absurd extra_ids", map[string]string{tokenizerFile: tiny, configFile: `{"extra_ids":-1}`}, "extra_ids"},
		{"single word", map[string]string{tokenizerFile: strings.Replace(tinyVocabulary, "%s",
			`{"content":"<w>","single_word":true}`, 1)}, "single_word"},
		{"cut protocol buffer", map[string]string{sentencePieceFile: "\x0a\x7f"}, "cut short"},
		{"no pieces", map[string]string{sentencePieceFile: ""}, "no pieces"},
		{"not Unigram", map[string]string{sentencePieceFile: "\x12\x02\x18\x02"}, "model type is 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(writeFiles(t, tt.files))
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.want)
			assert.Contains(t, err.Error(), "load T5 tokenizer from")
		})
	}
}

func FuzzEncode(f *testing.F) {
	for _, g := range readGoldens(f, "pixart-tiny") {
		f.Add(g.Text, 12)
	}
	tokenizer := loadTestdata(f, "pixart-tiny")
	f.Fuzz(func(t *testing.T, text string, maxLength int) {
		maxLength = min(maxLength, 1000)
		ids, length := tokenizer.Encode(text, maxLength)
		if maxLength > 0 {
			require.Len(t, ids, maxLength)
		}
		require.Equal(t, tokenizer.EOS(), ids[length-1])
		for _, id := range ids[length:] {
			require.Equal(t, tokenizer.Pad(), id)
		}
	})
}

func FuzzSentencePiece(f *testing.F) {
	data := readGzip(f, filepath.Join("testdata", "pixart-tiny", "spiece.model.gz"))
	f.Add(data[:2000])
	f.Add([]byte("\x0a\x05\x0a\x01a\x18\x01"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		if model, err := parseSentencePiece(data); err == nil && model.charsmap != nil {
			if c, err := parseCharsmap(model.charsmap); err == nil {
				c.normalize(string(data))
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tokenizer := loadTestdata(b, "t5")
	for _, bb := range []struct{ name, text string }{
		{"english", strings.Repeat("a photograph of an astronaut riding a horse, highly detailed, 35mm film; ", 20)},
		{"mixed", strings.Repeat("ein süßer Bär 東京の夜 🙂 ﬁne Zalgo h̵̡ 12½ 한국어 Санкт-Петербург ", 20)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.text)))
			for b.Loop() {
				tokenizer.Encode(bb.text, 0)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	dir := unpack(b, "t5")
	for b.Loop() {
		if _, err := Load(dir); err != nil {
			b.Fatal(err)
		}
	}
}
