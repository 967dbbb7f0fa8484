package tokenize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// tokenizerConfig holds what counts of tokenizer_config.json and special_tokens_map.json.
type tokenizerConfig struct {
	BOS  tokenText `json:"bos_token"`
	EOS  tokenText `json:"eos_token"`
	Unk  tokenText `json:"unk_token"`
	Sep  tokenText `json:"sep_token"`
	Pad  tokenText `json:"pad_token"`
	CLS  tokenText `json:"cls_token"`
	Mask tokenText `json:"mask_token"`

	AdditionalSpecial  []tokenText        `json:"additional_special_tokens"`
	ExtraSpecial       tokenCollection    `json:"extra_special_tokens"` // its newer name
	AddedTokensDecoder map[int]addedToken `json:"added_tokens_decoder"`
	ExtraIDs           int                `json:"extra_ids"`
	ModelMaxLength     float64            `json:"model_max_length"` // 1e30 means no limit
}

// tokenText is a special token in a configuration file: a string, or an object with its "content".
type tokenText string

// UnmarshalJSON reads either form.
func (t *tokenText) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var token addedToken
		if err := json.Unmarshal(data, &token); err != nil {
			return err
		}
		*t = tokenText(token.Content)
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

// tokenCollection is a list of special tokens, or an object that names them.
type tokenCollection struct {
	list  []tokenText
	named []tokenText
}

// UnmarshalJSON reads either form.
func (c *tokenCollection) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		return json.Unmarshal(data, &c.list)
	}
	var named map[string]tokenText
	if err := json.Unmarshal(data, &named); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		c.named = append(c.named, named[name])
	}
	return nil
}

// maxExtraIDs bounds the number of sentinels a configuration may ask for; T5 has 100.
const maxExtraIDs = 1 << 16

func readConfig(dir string) (*tokenizerConfig, error) {
	config := &tokenizerConfig{EOS: "</s>", Unk: "<unk>", Pad: "<pad>", ExtraIDs: 100}
	if err := readJSON(dir, configFile, config); err != nil {
		return nil, err
	}
	if config.ExtraIDs < 0 || config.ExtraIDs > maxExtraIDs {
		return nil, fmt.Errorf("%s: extra_ids is %d, expected 0 to %d", configFile, config.ExtraIDs, maxExtraIDs)
	}
	if config.AddedTokensDecoder != nil {
		return config, nil
	}
	// Folders written by old versions keep the special tokens in a file of
	// their own; the list of further tokens counts only if the configuration has none.
	listed := config.AdditionalSpecial
	if err := readJSON(dir, specialTokensFile, config); err != nil {
		return nil, err
	}
	if listed != nil {
		config.AdditionalSpecial = listed
	}
	return config, nil
}

func readJSON(dir, name string, into any) error {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (c *tokenizerConfig) maxLength() int {
	const unlimited = 1 << 30
	if c.ModelMaxLength <= 0 || c.ModelMaxLength >= unlimited {
		return 0
	}
	return int(c.ModelMaxLength)
}

// tokensToAdd lists the added tokens in the order in which they get their ids;
// of two with the same content the first counts.
func (c *tokenizerConfig) tokensToAdd(source *vocabularySource) []addedToken {
	var tokens []addedToken
	for _, id := range slices.Sorted(maps.Keys(c.AddedTokensDecoder)) {
		tokens = append(tokens, c.AddedTokensDecoder[id])
	}
	if c.AddedTokensDecoder == nil {
		tokens = append(tokens, source.addedTokens...)
	}
	special := []tokenText{c.BOS, c.EOS, c.Unk, c.Sep, c.Pad, c.CLS, c.Mask}
	special = append(special, c.ExtraSpecial.named...)
	special = append(special, c.furtherTokens(source)...)
	for _, text := range special {
		tokens = append(tokens, addedToken{Content: string(text)})
	}
	return tokens
}

// furtherTokens lists the special tokens without a role of their own: those of
// the configuration, else the literal pieces and T5's sentinels.
func (c *tokenizerConfig) furtherTokens(source *vocabularySource) []tokenText {
	if len(c.ExtraSpecial.list) > 0 {
		return c.ExtraSpecial.list
	}
	if c.AdditionalSpecial != nil {
		return c.AdditionalSpecial
	}
	var tokens []tokenText
	for _, text := range source.literal {
		tokens = append(tokens, tokenText(text))
	}
	for i := range c.ExtraIDs {
		tokens = append(tokens, tokenText(sentinel(i)))
	}
	return tokens
}
