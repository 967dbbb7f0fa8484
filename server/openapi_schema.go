package server

import (
	"encoding/json"
	"reflect"
	"sort"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/job"
)

// object is a JSON object of the OpenAPI document.
type object = map[string]any

// schema describes a value that the caller sends.
func (f Field) schema() object {
	s := object{"type": string(f.Kind)}
	switch f.Kind {
	case "":
		s["type"] = string(job.Text)
	case job.Texts:
		s = object{"type": "array", "items": object{"type": "string"}}
	case job.Int, job.Float:
		if f.Min != f.Max {
			s["minimum"], s["maximum"] = f.Min, f.Max
		}
	}
	if f.Doc != "" {
		s["description"] = f.Doc
	}
	if f.Default != nil {
		s["default"] = f.Default
	}
	if len(f.Choices) > 0 {
		s["enum"] = f.Choices
	}
	return s
}

// schema describes a body. Fields of open bodies may also be null, which is the same as leaving them out.
func (b Body) schema() object {
	properties, required := object{}, []string{}
	for _, field := range b.Fields {
		s := field.schema()
		if kind, single := s["type"].(string); single && b.Media[0] == mediaJSON && !field.Required && len(field.Choices) == 0 {
			s["type"] = []string{kind, "null"}
		}
		properties[field.Name] = s
		if field.Required {
			required = append(required, field.Name)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": b.Open}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// schemas collects the named types of answers, so that the document describes each once.
type schemas map[string]object

// ofBody describes a body, by reference when it has a name.
func (named schemas) ofBody(body Body) object {
	if body.Name == "" {
		return body.schema()
	}
	named[body.Name] = body.schema()
	return object{"$ref": "#/components/schemas/" + body.Name}
}

// of describes the Go value of an answer: structs by their type, maps of any by their keys.
func (named schemas) of(value any) object {
	if value == nil {
		return anyJSON
	}
	v := reflect.ValueOf(value)
	if v.Type() == reflect.TypeFor[map[string]any]() && v.Len() > 0 {
		properties, keys := object{}, []string{}
		for key, member := range value.(map[string]any) {
			properties[key] = named.of(member)
			keys = append(keys, key)
		}
		sort.Strings(keys)
		return object{"type": "object", "properties": properties, "required": keys}
	}
	if list, ok := value.([]any); ok && len(list) > 0 {
		return object{"type": "array", "items": named.of(list[0])}
	}
	return named.ofType(v.Type())
}

func (named schemas) ofType(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return anyJSON
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice, reflect.Array:
		return object{"type": "array", "items": named.ofType(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": named.ofType(t.Elem())}
	case reflect.Pointer:
		return nullable(named.ofType(t.Elem()))
	case reflect.Struct:
		return named.ofStruct(t)
	}
	return anyJSON // an interface may hold anything
}

// anyJSON is the schema of whatever JSON can hold.
var anyJSON = object{"type": []string{"null", "boolean", "number", "string", "array", "object"}, "items": object{}}

func nullable(s object) object {
	if kind, ok := s["type"].(string); ok {
		s["type"] = []string{kind, "null"}
		return s
	}
	return object{"anyOf": []object{s, {"type": "null"}}}
}

// ofStruct adds a struct to the named schemas and returns the reference to it.
func (named schemas) ofStruct(t reflect.Type) object {
	name := strings.TrimPrefix(t.String(), "server.")
	reference := object{"$ref": "#/components/schemas/" + name}
	if _, done := named[name]; done {
		return reference
	}
	named[name] = object{} // types may contain themselves
	properties, required := object{}, []string{}
	for i := range t.NumField() {
		key, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if key == "" || key == "-" {
			continue
		}
		properties[key] = named.ofType(t.Field(i).Type)
		if !strings.Contains(options, "omitempty") {
			required = append(required, key)
		}
	}
	named[name] = object{"type": "object", "properties": properties, "required": required}
	return reference
}
