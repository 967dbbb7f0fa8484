package aitoolkit

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

const datasetPrefix = "datasets[]."

// applyOptions copies every option of the table that belongs to the run itself into the Job.
func applyOptions(s *section, j *job.Job) {
	apply(s, j, func(path string) (string, bool) { return path, !strings.HasPrefix(path, datasetPrefix) })
}

// applyDatasetOptions copies the table's options of one dataset.
func applyDatasetOptions(s *section, d *job.Dataset) {
	apply(s, d, func(path string) (string, bool) { return strings.CutPrefix(path, datasetPrefix) })
}

// apply merges the options that choose selects into target, a Job or a Dataset, through its JSON form.
func apply(s *section, target any, choose func(path string) (string, bool)) {
	document := map[string]any{}
	for _, option := range job.Options {
		path, ok := choose(option.Path)
		if !ok || option.AIToolkit.Name == "" {
			continue
		}
		if value := read(s, option); value != nil {
			values.Put(document, path, value)
		}
	}
	if err := values.Apply(document, target); err != nil {
		s.t.refuse(s.field, "cannot be applied: %v", err)
	}
}

// read returns an option's value, or its default where it is absent.
func read(s *section, option job.Option) any {
	name := option.AIToolkit.Name
	if s.get(name) == nil {
		return option.AIToolkit.Default
	}
	bounded := option.Min != option.Max
	low, high := option.Min, option.Max
	if !bounded {
		low, high = -1e300, 1e300
	}
	switch option.Kind {
	case job.Bool:
		return s.flag(name, false)
	case job.Int:
		return s.integer(name, 0, int64(max(low, -1<<53)), int64(min(high, 1<<53)))
	case job.Float:
		return s.number(name, 0, low, high)
	case job.Text:
		return s.text(name, "")
	}
	s.t.refuse(s.at(name), "is declared as %s, which cannot be copied", option.Kind)
	return nil
}

// metadata flattens the document's meta for weight files, whose metadata are strings.
func metadata(meta map[string]any) map[string]string {
	if len(meta) == 0 {
		return nil
	}
	flat := map[string]string{}
	for key, value := range meta {
		if text, ok := value.(string); ok {
			flat[key] = text
		} else if data, err := json.Marshal(value); err == nil {
			flat[key] = string(data)
		}
	}
	return flat
}

// substituteName replaces [name] by config.name in every string of the document.
func substituteName(document map[string]any) map[string]any {
	config, _ := document["config"].(map[string]any)
	name, _ := config["name"].(string)
	replaced, _ := mapStrings(document, func(text string) string { return strings.ReplaceAll(text, "[name]", name) }).(map[string]any)
	return replaced
}

func mapStrings(value any, f func(string) string) any {
	switch v := value.(type) {
	case string:
		return f(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = mapStrings(v[i], f)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for key := range v {
			object[key] = mapStrings(v[key], f)
		}
		return object
	case map[any]any: // YAML with keys that are not strings
		object := make(map[string]any, len(v))
		for key := range v {
			object[fmt.Sprint(key)] = mapStrings(v[key], f)
		}
		return object
	}
	return value
}
