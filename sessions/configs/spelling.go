package configs

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"github.com/stepd/stepd/sessions/job/simpletuner"
)

const dashes = "--"

// dataloaderOption is stored without dashes and shown with and without them, as the original does.
const dataloaderOption = "data_backend_config"

// lookup finds an option in either spelling, with dashes first.
func lookup(options map[string]any, name string) (any, bool) {
	if value, ok := options[dashes+name]; ok {
		return value, true
	}
	value, ok := options[name]
	return value, ok
}

// text returns an option that is a string, else "".
func text(options map[string]any, name string) string {
	value, _ := lookup(options, name)
	s, _ := value.(string)
	return s
}

// set stores an option in the spelling of key and removes the other one.
func set(options map[string]any, key string, value any) {
	name := strings.TrimPrefix(key, dashes)
	delete(options, name)
	delete(options, dashes+name)
	options[key] = value
}

// fold keeps one of the keys that spell the same option: "--name", "name", and old names of it. Where several were sent,
// one of them is usually what the client read before (stored) and another one is new: the new one is kept, and among equals
// the present name before old ones and dashes before none.
func fold(sent, stored map[string]any) map[string]any {
	before := map[string]any{}
	for key, value := range stored {
		before[optionOf(key)] = value
	}
	kept := map[string]string{} // the key of each option
	for key := range sent {
		option := optionOf(key)
		if rival, twice := kept[option]; !twice || strength(key, sent[key], before[option]) > strength(rival, sent[rival], before[option]) {
			kept[option] = key
		}
	}
	folded := make(map[string]any, len(kept))
	for _, key := range kept {
		folded[key] = sent[key]
	}
	if value, ok := folded[dashes+dataloaderOption]; ok {
		set(folded, dataloaderOption, value)
	}
	return folded
}

// optionOf is the option that a key spells.
func optionOf(key string) string { return simpletuner.PresentName(strings.TrimPrefix(key, dashes)) }

// strength orders keys of one option; no two keys have the same, except old names.
func strength(key string, value, before any) int {
	n := 0
	if !same(value, before) {
		n += 4
	}
	if strings.TrimPrefix(key, dashes) == optionOf(key) {
		n += 2
	}
	if strings.HasPrefix(key, dashes) {
		n++
	}
	return n
}

// shown is what clients get: the path of the dataloader under both spellings.
func shown(options map[string]any) map[string]any {
	out := maps.Clone(options)
	if value, ok := lookup(options, dataloaderOption); ok {
		out[dataloaderOption], out[dashes+dataloaderOption] = value, value
	}
	return out
}

// same compares JSON values; numbers by value, because clients spell them anew (1e-05, 0.00001).
func same(a, b any) bool { return reflect.DeepEqual(byValue(a), byValue(b)) }

func byValue(value any) any {
	switch v := value.(type) {
	case json.Number:
		if number, err := v.Float64(); err == nil {
			return number
		}
		return v.String()
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = byValue(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = byValue(item)
		}
		return out
	}
	return value
}

// repoint replaces the name of an environment in every text that is a path of it, as "name/multidatabackend.json".
func repoint(value any, from, to string) any {
	switch v := value.(type) {
	case string:
		for _, prefix := range []string{"", "./", "config/"} {
			rest, ok := strings.CutPrefix(v, prefix+from)
			if ok && strings.HasPrefix(rest, "/") {
				return prefix + to + rest
			}
		}
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = repoint(item, from, to)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = repoint(item, from, to)
		}
		return out
	}
	return value
}
