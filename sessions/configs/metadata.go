package configs

import (
	"encoding/json"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Metadata describes a configuration. The fields of the model are those of its options.
type Metadata struct {
	Name           string   `json:"name"`
	Description    *string  `json:"description"`
	ModelFamily    *string  `json:"model_family"`
	ModelType      *string  `json:"model_type"`
	ModelFlavour   *string  `json:"model_flavour"`
	LoraType       *string  `json:"lora_type"`
	CreatedAt      string   `json:"created_at"` // ISO 8601, UTC
	ModifiedAt     string   `json:"modified_at"`
	Tags           []string `json:"tags"`
	IsTemplate     bool     `json:"is_template"`
	ParentTemplate *string  `json:"parent_template"`
}

// orNull is null in JSON when the text is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// Details are what a client may say about a configuration; empty ones leave the old ones as they are.
type Details struct {
	Description string
	Tags        []string
}

func (m *Metadata) apply(d Details) {
	if d.Description != "" {
		m.Description = &d.Description
	}
	if len(d.Tags) > 0 {
		m.Tags = d.Tags
	}
}

// describe takes what the options say about the model.
func (m *Metadata) describe(options map[string]any) {
	for name, field := range map[string]**string{
		"model_family": &m.ModelFamily, "model_type": &m.ModelType, "model_flavour": &m.ModelFlavour, "lora_type": &m.LoraType,
	} {
		if value, ok := lookup(options, name); ok {
			said, _ := value.(string)
			*field = orNull(said)
		}
	}
}

// metadataFile is where the metadata of a configuration file lies.
func metadataFile(file string) string {
	if path.Base(file) == "config.json" {
		return path.Join(path.Dir(file), ".metadata.json")
	}
	return strings.TrimSuffix(file, ".json") + ".metadata.json"
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000+00:00") }

// newMetadata describes a configuration that is made now.
func (s *Store) newMetadata(name string) Metadata {
	now := stamp(s.now())
	return Metadata{Name: name, CreatedAt: now, ModifiedAt: now, Tags: []string{}}
}

// metadata reads the description of a configuration. One that is missing or broken is made up from the file's date.
func (s *Store) metadata(kind Kind, name, file string) Metadata {
	var m Metadata
	if kind == Model {
		if data, err := s.disk.read(metadataFile(file)); err != nil || json.Unmarshal(data, &m) != nil {
			m = Metadata{}
		}
	}
	m.Name = name
	if info, err := fs.Stat(s.disk.root.FS(), file); err == nil {
		for _, date := range []*string{&m.CreatedAt, &m.ModifiedAt} {
			if *date == "" {
				*date = stamp(info.ModTime())
			}
		}
	}
	if m.Tags == nil {
		m.Tags = []string{}
	}
	return m
}
