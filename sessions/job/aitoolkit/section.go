package aitoolkit

import (
	"math"
	"sort"
	"strings"

	"github.com/stepd/stepd/sessions/job/internal/values"
)

// section reads options of one object of the document by dotted path and remembers which were asked for.
type section struct {
	t     *translation
	field string // where the object stands in the document
	root  map[string]any
	used  map[string]bool
	wrong map[string]bool // paths that should hold objects, do not, and are refused already
}

func newSection(t *translation, field string, root map[string]any) *section {
	return &section{t: t, field: field, root: root, used: map[string]bool{}, wrong: map[string]bool{}}
}

func (s *section) at(path string) string { return s.field + "." + path }

// use marks a path as known without reading it.
func (s *section) use(path string) { s.used[path] = true }

// get returns the value at a path, nil when it is absent or null.
func (s *section) get(path string) any {
	s.use(path)
	keys := strings.Split(path, ".")
	object := s.root
	for i, key := range keys[:len(keys)-1] {
		inner, ok := object[key].(map[string]any)
		if !ok {
			s.refuseOnce(strings.Join(keys[:i+1], "."), object[key])
			return nil
		}
		object = inner
	}
	return object[keys[len(keys)-1]]
}

// refuseOnce refuses what stands where an object belongs; nothing at all is fine.
func (s *section) refuseOnce(path string, value any) {
	if value == nil || s.wrong[path] {
		return
	}
	s.wrong[path] = true
	s.use(path)
	s.t.refuse(s.at(path), "%v is not an object", values.Show(value))
}

func (s *section) has(path string) bool {
	known := s.used[path]
	found := s.get(path) != nil
	s.used[path] = known
	return found
}

func (s *section) text(path, fallback string) string {
	switch v := s.get(path).(type) {
	case nil:
		return fallback
	case string:
		if strings.ContainsRune(v, 0) {
			s.t.refuse(s.at(path), "%v holds a NUL character; remove it", values.Show(v))
			return fallback
		}
		return v
	default:
		s.t.refuse(s.at(path), "%v is not a string", values.Show(v))
		return fallback
	}
}

func (s *section) flag(path string, fallback bool) bool {
	switch v := s.get(path).(type) {
	case nil:
		return fallback
	case bool:
		return v
	default:
		s.t.refuse(s.at(path), "%v is neither true nor false", values.Show(v))
		return fallback
	}
}

// number reads a finite number of [low, high]. YAML and clients also write numbers as strings ("1e-4").
func (s *section) number(path string, fallback, low, high float64) float64 {
	value := s.get(path)
	if value == nil {
		return fallback
	}
	number, ok := values.Number(value)
	if !ok {
		s.t.refuse(s.at(path), "%v is not a number", values.Show(value))
		return fallback
	}
	if !(number >= low && number <= high) {
		s.t.refuse(s.at(path), "%v is outside %v to %v", values.Show(value), low, high)
		return fallback
	}
	return number
}

func (s *section) integer(path string, fallback, low, high int64) int64 {
	value := s.get(path)
	if value == nil {
		return fallback
	}
	number, ok := values.Number(value)
	if !ok || number != math.Trunc(number) {
		s.t.refuse(s.at(path), "%v is not a whole number", values.Show(value))
		return fallback
	}
	if number < float64(low) || number > float64(high) {
		s.t.refuse(s.at(path), "%v is outside %d to %d", values.Show(value), low, high)
		return fallback
	}
	return int64(number)
}

// object returns the object at a path as a section of its own; its keys count as used here and are reported there.
func (s *section) object(path string) *section {
	value := s.get(path)
	s.use(path + ".*")
	object, ok := value.(map[string]any)
	if value != nil && !ok {
		s.t.refuse(s.at(path), "%v is not an object", values.Show(value))
	}
	return newSection(s.t, s.at(path), object)
}

func (s *section) list(path string) []any {
	value := s.get(path)
	list, ok := value.([]any)
	if value != nil && !ok {
		s.t.refuse(s.at(path), "%v is not a list", values.Show(value))
	}
	return list
}

// reportUnknown warns about every option that nobody read.
func (s *section) reportUnknown() { s.unknown("", s.root) }

func (s *section) unknown(prefix string, object map[string]any) {
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		path := prefix + key
		if s.used[path] || s.used[path+".*"] {
			continue
		}
		if inner, ok := object[key].(map[string]any); ok && s.knowsInside(path) {
			s.unknown(path+".", inner)
			continue
		}
		s.t.warn("%s is not an option that this program knows; it has no effect", s.at(path))
	}
}

func (s *section) knowsInside(path string) bool {
	for known := range s.used {
		if strings.HasPrefix(known, path+".") {
			return true
		}
	}
	return false
}
