// Package values is what the dialects share when they read values of a parsed document: maps, lists, strings, bools and
// numbers, in whichever type the parser gave them.
package values

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Number reads a finite number, also where YAML or a form wrote it as a string ("1e-4").
func Number(value any) (float64, bool) {
	var number float64
	switch v := value.(type) {
	case json.Number:
		return parseNumber(v.String())
	case string:
		return parseNumber(strings.TrimSpace(v))
	case float64:
		number = v
	case int:
		number = float64(v)
	case int64:
		number = float64(v)
	case uint64:
		number = float64(v)
	default:
		return 0, false
	}
	return number, !math.IsNaN(number) && !math.IsInf(number, 0)
}

func parseNumber(text string) (float64, bool) {
	number, err := strconv.ParseFloat(text, 64)
	return number, err == nil && !math.IsNaN(number) && !math.IsInf(number, 0) && !strings.ContainsAny(text, "xX_")
}

// Show prints a value of the document for a message, shortened.
func Show(value any) string {
	if value == nil {
		return "nothing"
	}
	text, err := json.Marshal(value)
	if err != nil {
		text = []byte(fmt.Sprint(value))
	}
	if len(text) > 120 {
		return strings.ToValidUTF8(string(text[:117]), "") + "…"
	}
	return string(text)
}

// Put stores a value at a dotted path, making the objects on the way.
func Put(document map[string]any, path string, value any) {
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		inner, ok := document[key].(map[string]any)
		if !ok {
			inner = map[string]any{}
			document[key] = inner
		}
		document = inner
	}
	document[keys[len(keys)-1]] = value
}

// Apply merges a document made by Put into target, a pointer to a struct with JSON names; the rest of target stays.
func Apply(document map[string]any, target any) error {
	data, err := json.Marshal(document)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, target)
}

// Equal compares two scalars; numbers are equal in whichever type and spelling they come.
func Equal(a, b any) bool {
	x, isNumber := Number(a)
	y, alsoNumber := Number(b)
	if isNumber && alsoNumber {
		return x == y
	}
	switch a.(type) {
	case nil, bool, string:
		return a == b
	}
	return false
}
