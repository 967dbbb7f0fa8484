package tokenize

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReference runs the tokenizer section (J) of a folder of reference data
// named by STEPD_REFERENCE and prints one line per case and a summary.
func TestReference(t *testing.T) {
	root := os.Getenv("STEPD_REFERENCE")
	if root == "" {
		t.Skip("STEPD_REFERENCE names no folder of reference data")
	}
	var manifest struct {
		Cases []referenceCase `json:"cases"`
	}
	require.NoError(t, readFileJSON(filepath.Join(root, "manifest.json"), &manifest))

	var passed, failed, skipped int
	for _, c := range manifest.Cases {
		if !strings.HasPrefix(c.Name, "J/") {
			continue
		}
		dir := filepath.Join(root, c.Params.Tokenizer)
		if !isT5(dir) {
			fmt.Printf("SKIP %s: not a T5 tokenizer\n", c.Name)
			skipped++
			continue
		}
		if err := c.run(root, dir); err != nil {
			fmt.Printf("FAIL %s: %v\n", c.Name, err)
			t.Errorf("%s: %v", c.Name, err)
			failed++
			continue
		}
		fmt.Printf("PASS %s\n", c.Name)
		passed++
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
}

type referenceCase struct {
	Name   string   `json:"name"`
	Files  []string `json:"files"`
	Params struct {
		Tokenizer  string `json:"tokenizer"`
		MaxLengths []int  `json:"max_lengths"`
	} `json:"params"`
}

func readFileJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

func isT5(dir string) bool {
	var config struct {
		Class string `json:"tokenizer_class"`
	}
	err := readFileJSON(filepath.Join(dir, configFile), &config)
	return err == nil && strings.HasPrefix(config.Class, "T5Tokenizer")
}

func (c *referenceCase) file(root, name string) string {
	for _, f := range c.Files {
		if filepath.Base(f) == name {
			return filepath.Join(root, f)
		}
	}
	return filepath.Join(root, "cases", c.Name, name)
}

func (c *referenceCase) run(root, dir string) error {
	tokenizer, err := Load(dir)
	if err != nil {
		return err
	}
	var tokens struct {
		Prompts []string  `json:"prompts"`
		IDs     [][]int32 `json:"ids"`
	}
	if err := readFileJSON(c.file(root, "tokens.json"), &tokens); err != nil {
		return err
	}
	padded, err := readIntegers(c.file(root, "padded.safetensors"))
	if err != nil {
		return err
	}
	for i, prompt := range tokens.Prompts {
		if ids, _ := tokenizer.Encode(prompt, 0); !slices.Equal(ids, tokens.IDs[i]) {
			return fmt.Errorf("prompt %d %q: ids are %v, expected %v", i, prompt, ids, tokens.IDs[i])
		}
		for _, n := range c.Params.MaxLengths {
			ids, length := tokenizer.Encode(prompt, n)
			mask := slices.Concat(slices.Repeat([]int32{1}, length), make([]int32, n-length))
			wantIDs := padded[fmt.Sprintf("ids_%d", n)][i*n : (i+1)*n]
			wantMask := padded[fmt.Sprintf("mask_%d", n)][i*n : (i+1)*n]
			if !slices.Equal(ids, wantIDs) || !slices.Equal(mask, wantMask) {
				return fmt.Errorf("prompt %d %q at length %d: ids are %v, expected %v", i, prompt, n, ids, wantIDs)
			}
		}
	}
	return nil
}

// readIntegers reads all integer arrays of a safetensors file.
func readIntegers(path string) (map[string][]int32, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	headerEnd := 8 + binary.LittleEndian.Uint64(data)
	var header map[string]json.RawMessage
	if err := json.Unmarshal(data[8:headerEnd], &header); err != nil {
		return nil, err
	}
	delete(header, "__metadata__")
	arrays := map[string][]int32{}
	for name, raw := range header {
		var entry struct {
			Type    string    `json:"dtype"`
			Offsets [2]uint64 `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &entry); err != nil {
			return nil, err
		}
		values, err := integers(entry.Type, data[headerEnd+entry.Offsets[0]:headerEnd+entry.Offsets[1]])
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		arrays[name] = values
	}
	return arrays, nil
}

func integers(dtype string, data []byte) ([]int32, error) {
	var values []int32
	switch dtype {
	case "U8":
		for _, b := range data {
			values = append(values, int32(b))
		}
	case "I16":
		for ; len(data) > 0; data = data[2:] {
			values = append(values, int32(int16(binary.LittleEndian.Uint16(data))))
		}
	case "I32":
		for ; len(data) > 0; data = data[4:] {
			values = append(values, int32(binary.LittleEndian.Uint32(data)))
		}
	case "I64":
		for ; len(data) > 0; data = data[8:] {
			values = append(values, int32(binary.LittleEndian.Uint64(data)))
		}
	default:
		return nil, fmt.Errorf("type %s is not an integer type", dtype)
	}
	return values, nil
}
