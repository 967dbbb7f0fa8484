package configs

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// shipped holds one folder an example: config.json, multidatabackend.json and description.txt.
//
//go:embed examples
var shipped embed.FS

// Example is a complete configuration that the program carries.
type Example struct {
	Name        string
	Description string
	Options     map[string]any
	Datasets    []any
	// ConfigPath and DataloaderPath lie in the program, not on the disk.
	ConfigPath, DataloaderPath string
}

// Examples returns the shipped examples by name.
func Examples() ([]Example, error) {
	folders, err := fs.ReadDir(shipped, "examples")
	if err != nil {
		return nil, err
	}
	examples := make([]Example, len(folders))
	for i, folder := range folders {
		if examples[i], err = readExample(folder.Name()); err != nil {
			return nil, fmt.Errorf("shipped example %s: %w", folder.Name(), err)
		}
	}
	return examples, nil
}

func readExample(name string) (Example, error) {
	e := Example{Name: name, ConfigPath: path.Join("examples", name, "config.json"), DataloaderPath: path.Join("examples", name, "multidatabackend.json")}
	description, err := shipped.ReadFile(path.Join("examples", name, "description.txt"))
	e.Description = strings.TrimSpace(string(description))
	for file, into := range map[string]any{e.ConfigPath: &e.Options, e.DataloaderPath: &e.Datasets} {
		data, readErr := shipped.ReadFile(file)
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		err = errors.Join(err, readErr, decoder.Decode(into))
	}
	return e, err
}

func findExample(name string) (Example, error) {
	examples, err := Examples()
	if err != nil {
		return Example{}, err
	}
	var names []string
	for _, e := range examples {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Example{}, refuse(ErrNotFound, "Example '%s' not found. Available examples: %s", name, strings.Join(names, ", "))
}

// templateFolder holds the user's own starting points.
const templateFolder = "templates"

// template is a starting point: a file in the templates folder, or a shipped example.
type template struct {
	metadata Metadata
	options  map[string]any
}

// Templates returns the starting points by name.
func (s *Store) Templates() ([]Metadata, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := map[string]Metadata{}
	examples, err := Examples()
	if err != nil {
		return nil, err
	}
	for _, e := range examples {
		all[e.Name] = e.template().metadata
	}
	files, err := fs.Glob(s.disk.root.FS(), templateFolder+"/*.json")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".json")
		if t, err := s.template(name); err == nil {
			all[name] = t.metadata
		}
	}
	templates := make([]Metadata, 0, len(all))
	for _, metadata := range all {
		templates = append(templates, metadata)
	}
	slices.SortFunc(templates, func(a, b Metadata) int { return strings.Compare(a.Name, b.Name) })
	return templates, nil
}

func (e Example) template() template {
	m := Metadata{Name: e.Name, Description: orNull(e.Description), Tags: []string{}, IsTemplate: true}
	m.describe(e.Options)
	return template{m, e.Options}
}

func (s *Store) template(name string) (template, error) {
	missing := refuse(ErrNotFound, "Template '%s' not found", name)
	if !reachable(name) {
		return template{}, missing
	}
	file := path.Join(templateFolder, name+".json")
	if !s.disk.exists(file) {
		if e, err := findExample(name); err == nil {
			return e.template(), nil
		}
		return template{}, missing
	}
	value, err := s.disk.readJSON(file, "template '"+name+"'")
	if err != nil {
		return template{}, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return template{}, refuse(ErrBroken, "Template '%s' is not a JSON object", name)
	}
	m := s.metadata(Template, name, file)
	if said, ok := object["_metadata"].(map[string]any); ok {
		description, _ := said["description"].(string)
		m.Description = orNull(description)
	}
	m.IsTemplate = true
	options := fold(unwrap(object), nil)
	m.describe(options)
	return template{m, options}, nil
}

// FromTemplate makes a configuration out of a template.
func (s *Store) FromTemplate(templateName, name string) (Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.template(templateName)
	if err != nil {
		return Metadata{}, err
	}
	name, err = s.free(Model, name)
	if err != nil {
		return Metadata{}, err
	}
	metadata := s.newMetadata(name)
	metadata.Description = orNull("Created from template: " + t.metadata.Name)
	metadata.ParentTemplate = orNull(templateName)
	return s.store(Model, metadata, t.options, nil, s.newFile(Model, name))
}
