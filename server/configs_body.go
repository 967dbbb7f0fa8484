package server

import (
	"encoding/json"
	"slices"
)

// requireText returns a required string field.
func (b *body) requireText(name string) string {
	if _, ok := b.require(name); !ok {
		return ""
	}
	return b.text(name)
}

// texts returns an optional list of strings.
func (b *body) texts(name string) []string {
	_, value := b.take(name)
	if value == nil {
		return nil
	}
	items, ok := value.([]any)
	if !ok {
		b.add("list_type", name, "Input should be a valid list", value, nil)
		return nil
	}
	all := make([]string, len(items))
	for i, item := range items {
		if all[i], ok = item.(string); !ok {
			b.problems = append(b.problems, Problem{Type: "string_type", Loc: []any{"body", name, i}, Message: "Input should be a valid string", Input: item})
		}
	}
	return all
}

// flag returns an optional boolean, which may be spelled as Pydantic allows.
func (b *body) flag(name string, fallback bool) bool {
	_, value := b.take(name)
	var word string
	switch v := value.(type) {
	case nil:
		return fallback
	case bool:
		return v
	case string:
		word = v
	case json.Number:
		word = v.String()
	default:
		b.add("bool_type", name, "Input should be a valid boolean", value, nil)
		return fallback
	}
	flag, ok := parseFlag(word)
	if !ok {
		b.add("bool_parsing", name, "Input should be a valid boolean, unable to interpret input", value, nil)
	}
	return flag
}

// strangers are notes about fields that the request does not have.
func (b *body) strangers() []string {
	names := b.unknown()
	slices.Sort(names)
	for i, name := range names {
		names[i] = name + " is not a field of this request; it has no effect"
	}
	return names
}
