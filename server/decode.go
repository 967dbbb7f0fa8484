package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of request bodies; real jobs need about eight levels.
const maxDepth = 32

// body reads the fields of a JSON object and collects every problem, so that one answer names them all.
type body struct {
	fields   map[string]any
	known    map[string]bool
	problems Problems
}

// readBody parses a request body strictly: UTF-8, one object, no duplicate keys, bounded depth. Numbers stay json.Number.
func readBody(raw []byte) (*body, error) {
	value, err := parseStrict(raw)
	if err != nil {
		return nil, invalidJSON(err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, Problems{{Type: "model_attributes_type", Loc: []any{"body"},
			Message: "Input should be a valid dictionary or object to extract fields from", Input: value}}
	}
	return &body{fields: object, known: map[string]bool{}}, nil
}

func invalidJSON(err error) error {
	return Problems{{Type: "json_invalid", Loc: []any{"body"}, Message: "JSON decode error: " + err.Error(), Input: map[string]any{}}}
}

// byteOrderMark begins what some editors and shells write.
var byteOrderMark = []byte("\ufeff")

// parseStrict decodes one JSON value and refuses what encoding/json lets pass: duplicate keys, broken UTF-8, deep nesting, trailing data.
func parseStrict(raw []byte) (any, error) {
	if !utf8.Valid(raw) {
		return nil, fmt.Errorf("the body is not valid UTF-8")
	}
	if bytes.HasPrefix(raw, byteOrderMark) {
		return nil, fmt.Errorf("the body begins with a byte order mark (U+FEFF), which JSON does not allow; save it as UTF-8 without one")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	value, err := parseValue(d, 0)
	if err != nil {
		if err == io.EOF {
			return nil, fmt.Errorf("the body is empty or ends too early")
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("there is something after the JSON value")
	}
	return value, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels of nesting", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return parseObject(d, depth)
	case json.Delim('['):
		list := []any{}
		for d.More() {
			value, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.Token()
		return list, err
	}
	return token, nil
}

func parseObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string) // the decoder has checked that object keys are strings
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("the key %q appears twice in one object", key)
		}
		if object[key], err = parseValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, err
}

func (b *body) add(kind, field, message string, input any, context map[string]any) {
	b.problems = append(b.problems, Problem{Type: kind, Loc: []any{"body", field}, Message: message, Input: input, Context: context})
}

// take returns the value of the first of the spellings that is present and not null.
func (b *body) take(names ...string) (string, any) {
	for _, name := range names {
		b.known[name] = true
	}
	for _, name := range names {
		if value, ok := b.fields[name]; ok && value != nil {
			return name, value
		}
	}
	return names[0], nil
}

func (b *body) require(name string) (any, bool) {
	_, value := b.take(name)
	if value == nil {
		b.add("missing", name, "Field required", b.fields, nil)
	}
	return value, value != nil
}

func (b *body) text(names ...string) string {
	name, value := b.take(names...)
	if value == nil {
		return ""
	}
	text, ok := value.(string)
	if !ok {
		b.add("string_type", name, "Input should be a valid string", value, nil)
	}
	return text
}

// object returns a required object field.
func (b *body) object(name string) map[string]any {
	value, ok := b.require(name)
	if !ok {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		b.add("dict_type", name, "Input should be a valid dictionary", value, nil)
	}
	return object
}

// numeral returns the text of a number, or of a string that may spell one.
func numeral(value any) (string, bool) {
	switch v := value.(type) {
	case json.Number:
		return v.String(), true
	case string:
		return strings.TrimSpace(v), true
	}
	return "", false
}

// integer reads a whole number as Pydantic does: numbers without a fraction, and strings that spell one.
func (b *body) integer(name string, value any) (int64, bool) {
	text, ok := numeral(value)
	if !ok {
		b.add("int_type", name, "Input should be a valid integer", value, nil)
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && -largestInteger <= n && n <= largestInteger {
		return n, true
	}
	number, err := strconv.ParseFloat(text, 64)
	_, quoted := value.(string)
	switch {
	case quoted || err != nil:
		b.add("int_parsing", name, "Input should be a valid integer, unable to parse string as an integer", value, nil)
	case number != math.Trunc(number):
		b.add("int_from_float", name, "Input should be a valid integer, got a number with a fractional part", value, nil)
	case math.Abs(number) > largestInteger:
		b.add("int_parsing_size", name, "Unable to parse input string as an integer, exceeded maximum size", value, nil)
	default:
		return int64(number), true
	}
	return 0, false
}

// number reads a finite number.
func (b *body) number(name string, value any) (float64, bool) {
	text, ok := numeral(value)
	if !ok {
		b.add("float_type", name, "Input should be a valid number", value, nil)
		return 0, false
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(number) || math.IsInf(number, 0) {
		b.add("float_parsing", name, "Input should be a valid number, unable to parse string as a number", value, nil)
		return 0, false
	}
	return number, true
}

// unknown lists fields that no one asked for; they are accepted with a warning.
func (b *body) unknown() []string {
	var names []string
	for name := range b.fields {
		if !b.known[name] {
			names = append(names, name)
		}
	}
	return names
}

func (b *body) err() error {
	if len(b.problems) > 0 {
		return b.problems
	}
	return nil
}
