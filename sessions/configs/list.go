package configs

import (
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Entry is one line of a list.
type Entry map[string]any

// List returns all configurations of a kind by name; those that cannot be read have the reason as "error".
func (s *Store) List(kind Kind) ([]Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	entries := []Entry{}
	if kind != Webhook && folderFile[kind] == "" {
		return entries, nil
	}
	err := s.each(kind, func(name, file string) {
		d, err := s.load(kind, name, file)
		if errors.Is(err, ErrBroken) {
			entries = append(entries, s.brokenEntry(kind, name, file, err))
			return
		}
		if named := path.Base(file) == folderFile[kind]; err != nil || !named && !fits(kind, d.Config) {
			return
		}
		entries = append(entries, s.entry(d, file))
	})
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a["name"].(string), b["name"].(string)) })
	return entries, err
}

// each visits the files in which configurations of a kind may lie.
func (s *Store) each(kind Kind, visit func(name, file string)) error {
	top := "."
	if kind == Webhook {
		top = webhookFolder
		if !s.disk.exists(top) {
			return nil
		}
	}
	entries, err := fs.ReadDir(s.disk.root.FS(), top)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".metadata.json") {
			continue
		}
		stem, isFile := strings.CutSuffix(name, ".json")
		switch file := path.Join(top, name); {
		case isFile:
			if found, err := s.find(kind, stem); err == nil && found == file {
				visit(stem, file)
			}
		case kind == Webhook:
			if found, err := s.find(kind, name); err == nil && path.Dir(found) == file {
				visit(name, found)
			}
		case name != webhookFolder && name != templateFolder:
			s.eachInFolder(kind, name, visit)
		}
	}
	return nil
}

// eachInFolder visits the file of a kind in the folder of an environment, and its other dataloaders as "name:stem".
func (s *Store) eachInFolder(kind Kind, name string, visit func(name, file string)) {
	if file := path.Join(name, folderFile[kind]); s.disk.exists(file) {
		visit(name, file)
	}
	if kind != Dataloader {
		return
	}
	others, _ := fs.Glob(s.disk.root.FS(), name+"/multidatabackend?*.json")
	for _, file := range others {
		visit(name+":"+strings.TrimSuffix(path.Base(file), ".json"), file)
	}
}

// brokenEntry is the line of a configuration that is there and cannot be read.
func (s *Store) brokenEntry(kind Kind, name, file string, reason error) Entry {
	d := Document{Kind: kind, Name: name, Metadata: s.metadata(kind, name, file)}
	if kind == Dataloader {
		d.Config = []any{}
	}
	e := s.entry(d, file)
	e["error"] = reason.Error()
	return e
}

func (s *Store) entry(d Document, file string) Entry {
	m := d.Metadata
	e := Entry{"name": m.Name, "created_at": m.CreatedAt, "modified_at": m.ModifiedAt}
	object := d.Options()
	switch d.Kind {
	case Model:
		e["description"], e["tags"] = m.Description, m.Tags
		e["model_family"], e["model_type"], e["model_flavour"], e["lora_type"] = m.ModelFamily, m.ModelType, m.ModelFlavour, m.LoraType
		dataloader := text(object, dataloaderOption)
		e["dataloader_path"], e["data_backend_config"], e["has_dataloader"] = orNull(dataloader), orNull(dataloader), dataloader != ""
	case Dataloader:
		e["dataset_count"], e["path"] = len(d.Config.([]any)), filepath.Join(s.dir, filepath.FromSlash(file))
	case Webhook:
		for _, field := range []string{"webhook_type", "callback_url", "webhook_url", "message_prefix", "log_level"} {
			e[field] = object[field]
		}
		if e["log_level"] == nil {
			e["log_level"] = "info"
		}
	case Lycoris:
		e["algo"], e["factor"], e["multiplier"] = object["algo"], object["factor"], object["multiplier"]
	}
	return e
}
