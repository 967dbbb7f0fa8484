package tokenize

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of a tokenizer folder in the diffusers layout.
const (
	tokenizerFile     = "tokenizer.json"
	sentencePieceFile = "spiece.model"
	configFile        = "tokenizer_config.json"
	specialTokensFile = "special_tokens_map.json"
)

// unknownID is the id transformers gives T5's unknown piece, whatever the files say.
const unknownID = 2

// Load reads a T5 tokenizer from a folder in the diffusers layout:
// tokenizer.json or else spiece.model, with tokenizer_config.json and
// special_tokens_map.json beside it where they exist.
func Load(dir string) (*T5, error) {
	t, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("load T5 tokenizer from %s: %w", dir, err)
	}
	return t, nil
}

func load(dir string) (*T5, error) {
	config, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	source, err := readVocabulary(dir, config)
	if err != nil {
		return nil, err
	}
	return build(config, source)
}

// vocabularySource is what tokenizer.json and spiece.model have in common.
type vocabularySource struct {
	pieces      []piece
	charsmap    []byte // nil: no normalisation
	addedTokens []addedToken
	literal     []string // pieces to match literally unless the configuration lists such tokens
}

func readVocabulary(dir string, config *tokenizerConfig) (*vocabularySource, error) {
	data, err := os.ReadFile(filepath.Join(dir, tokenizerFile))
	if err == nil {
		source, err := parseTokenizerJSON(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", tokenizerFile, err)
		}
		return source, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err = os.ReadFile(filepath.Join(dir, sentencePieceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("neither %s nor %s is there", tokenizerFile, sentencePieceFile)
	}
	if err != nil {
		return nil, err
	}
	model, err := parseSentencePiece(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sentencePieceFile, err)
	}
	source := &vocabularySource{pieces: model.pieces, charsmap: model.charsmap, literal: model.literal}
	// A spiece.model leaves out T5's sentinels; they follow the pieces, highest number first.
	for i := config.ExtraIDs - 1; i >= 0; i-- {
		source.pieces = append(source.pieces, piece{text: sentinel(i)})
	}
	return source, nil
}

func sentinel(i int) string { return fmt.Sprintf("<extra_id_%d>", i) }

// UnmarshalJSON reads a vocabulary entry of tokenizer.json: [text, score].
func (p *piece) UnmarshalJSON(data []byte) error {
	entry := []any{&p.text, &p.score}
	if err := json.Unmarshal(data, &entry); err != nil {
		return err
	}
	if len(entry) != 2 {
		return fmt.Errorf("vocabulary entry %s is not a pair of text and score", data)
	}
	return nil
}

// normalizerJSON is the "normalizer" of tokenizer.json, of which only the
// precompiled charsmap counts: transformers rebuilds the other steps itself.
type normalizerJSON struct {
	Type        string           `json:"type"`
	Charsmap    string           `json:"precompiled_charsmap"`
	Normalizers []normalizerJSON `json:"normalizers"`
}

func (n *normalizerJSON) charsmap() string {
	if n.Type == "Precompiled" {
		return n.Charsmap
	}
	for i := range n.Normalizers {
		if n.Normalizers[i].Type == "Precompiled" {
			return n.Normalizers[i].Charsmap
		}
	}
	return ""
}

func parseTokenizerJSON(data []byte) (*vocabularySource, error) {
	var file struct {
		AddedTokens []addedToken    `json:"added_tokens"`
		Normalizer  *normalizerJSON `json:"normalizer"`
		Model       struct {
			Type  string          `json:"type"`
			Vocab json.RawMessage `json:"vocab"`
		} `json:"model"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	if file.Model.Type != "Unigram" {
		return nil, fmt.Errorf("model type is %q, a T5 tokenizer has \"Unigram\"", file.Model.Type)
	}
	source := &vocabularySource{addedTokens: file.AddedTokens}
	if err := json.Unmarshal(file.Model.Vocab, &source.pieces); err != nil {
		return nil, fmt.Errorf("model.vocab: %w", err)
	}
	if file.Normalizer != nil {
		charsmap, err := base64.StdEncoding.DecodeString(file.Normalizer.charsmap())
		if err != nil {
			return nil, fmt.Errorf("precompiled_charsmap: %w", err)
		}
		if len(charsmap) > 0 {
			source.charsmap = charsmap
		}
	}
	return source, nil
}

// build assembles the tokenizer.
func build(config *tokenizerConfig, source *vocabularySource) (*T5, error) {
	t := &T5{maxLength: config.maxLength()}
	var err error
	if t.model, err = newUnigram(source.pieces, unknownID); err != nil {
		return nil, err
	}
	if source.charsmap != nil {
		if t.normalizer, err = parseCharsmap(source.charsmap); err != nil {
			return nil, err
		}
	}
	ids, err := t.addTokens(config.tokensToAdd(source), len(source.pieces))
	if err != nil {
		return nil, err
	}
	t.eosID, t.padID = ids[string(config.EOS)], ids[string(config.Pad)]
	return t, nil
}

// addTokens gives every added token its id, new ids after the vocabulary's,
// and sets up the matchers. It returns the ids by content.
func (t *T5) addTokens(tokens []addedToken, nextID int) (map[string]int32, error) {
	ids := map[string]int32{}
	var special, user []addedToken
	for _, token := range tokens {
		if _, known := ids[token.Content]; known || token.Content == "" {
			continue
		}
		if token.SingleWord {
			return nil, fmt.Errorf("added token %q: \"single_word\" is not supported", token.Content)
		}
		id, ok := t.model.trie.find(token.Content)
		if !ok {
			id = int32(nextID)
			nextID++
		}
		ids[token.Content] = id
		token.id = id
		if !token.Normalized {
			special = append(special, token)
			continue
		}
		if token.Content = t.normalizer.normalize(token.Content); token.Content != "" {
			user = append(user, token)
		}
	}
	t.special, t.userTokens = newTokenMatcher(special), newTokenMatcher(user)
	return ids, nil
}
