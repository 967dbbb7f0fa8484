package configs

import (
	"errors"
	"path"
	"strings"
)

// Create writes a configuration that must not exist yet.
func (s *Store) Create(kind Kind, name string, config any, details Details) (Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.create(kind, name, config, details)
}

func (s *Store) create(kind Kind, name string, config any, details Details) (Metadata, error) {
	name, err := s.free(kind, name)
	if err != nil {
		return Metadata{}, err
	}
	metadata := s.newMetadata(name)
	metadata.apply(details)
	return s.store(kind, metadata, config, nil, s.newFile(kind, name))
}

// free returns the clean form of a name that no configuration of this kind has.
func (s *Store) free(kind Kind, name string) (string, error) {
	name, err := newName(name)
	if err != nil {
		return "", err
	}
	taken := refuse(ErrExists, "Configuration '%s' already exists", name)
	_, err = s.find(kind, name)
	switch {
	case err == nil:
		return "", taken
	case !errors.Is(err, ErrNotFound):
		return "", err
	}
	if file := s.newFile(kind, name); s.disk.exists(file) {
		return "", taken // by a file of another kind
	}
	return name, nil
}

// store folds options against what was stored before and writes everything to file.
func (s *Store) store(kind Kind, metadata Metadata, config any, before map[string]any, file string) (Metadata, error) {
	object, isObject := config.(map[string]any)
	_, isList := config.([]any)
	switch {
	case kind == Dataloader && !isList:
		return Metadata{}, refuse(ErrInvalid, "config: a dataloader is a list of datasets")
	case kind != Dataloader && !isObject:
		return Metadata{}, refuse(ErrInvalid, "config: a %s configuration is an object", kind)
	}
	if kind == Model {
		object = fold(object, before)
		config = object
		metadata.describe(object)
	}
	metadata.ModifiedAt = stamp(s.now())
	return metadata, s.put(Document{Kind: kind, Name: metadata.Name, Config: config, Metadata: metadata}, file)
}

// Update replaces a configuration.
func (s *Store) Update(kind Kind, name string, config any, details Details) (Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.update(kind, name, config, details)
}

func (s *Store) update(kind Kind, name string, config any, details Details) (Metadata, error) {
	name, file, err := s.known(kind, name)
	if err != nil {
		return Metadata{}, err
	}
	// A file that cannot be read may be replaced.
	old, err := s.load(kind, name, file)
	if err != nil && !errors.Is(err, ErrBroken) {
		return Metadata{}, err
	}
	if err != nil {
		old.Metadata = s.metadata(kind, name, file)
	}
	old.Metadata.apply(details)
	return s.store(kind, old.Metadata, config, old.Options(), file)
}

// Save replaces the options of an environment.
func (s *Store) Save(name string, options map[string]any) error {
	_, err := s.Update(Model, name, options, Details{})
	return err
}

// Delete removes a configuration; a Model goes with its whole folder.
func (s *Store) Delete(kind Kind, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, file, err := s.known(kind, name)
	if err != nil {
		return err
	}
	if kind == Model && name == s.active() {
		return refuse(ErrActive, "Cannot delete the active configuration")
	}
	return s.discard(kind, file)
}

// read returns a configuration and the file that holds it.
func (s *Store) read(kind Kind, name string) (Document, string, error) {
	name, file, err := s.known(kind, name)
	if err != nil {
		return Document{}, "", err
	}
	d, err := s.load(kind, name, file)
	return d, file, err
}

func (s *Store) discard(kind Kind, file string) error {
	if folder := path.Dir(file); kind == Model && folder != "." {
		return s.disk.remove(folder)
	}
	if err := s.disk.remove(file); err != nil {
		return err
	}
	if metadata := metadataFile(file); kind == Model && s.disk.exists(metadata) {
		return s.disk.remove(metadata)
	}
	return nil
}

// Rename gives a configuration another name. Paths of its folder in the options, and the choice of the active one, follow.
func (s *Store) Rename(kind Kind, name, newName string) (Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, file, err := s.read(kind, name)
	if err != nil {
		return Metadata{}, err
	}
	// A copy first, so that a crash leaves at least one whole environment.
	metadata, err := s.duplicate(old, file, newName, func(m *Metadata) { *m = old.Metadata })
	if err != nil {
		return Metadata{}, err
	}
	if kind == Model && old.Name == s.active() {
		if err := s.setActive(metadata.Name); err != nil {
			return Metadata{}, err
		}
	}
	return metadata, s.discard(kind, file)
}

// Copy makes a second configuration, with everything in the folder of the first one.
func (s *Store) Copy(kind Kind, name, target string) (Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, file, err := s.read(kind, name)
	if err != nil {
		return Metadata{}, err
	}
	return s.duplicate(old, file, target, func(m *Metadata) {
		origin := old.Name
		if old.Metadata.Description != nil {
			origin = *old.Metadata.Description
		}
		m.Description, m.Tags, m.ParentTemplate = orNull("Copy of "+origin), old.Metadata.Tags, old.Metadata.ParentTemplate
	})
}

// duplicate writes old, which lies in file, under another name; describe fills in the new metadata but for name and date.
func (s *Store) duplicate(old Document, file, target string, describe func(*Metadata)) (Metadata, error) {
	target, err := s.free(old.Kind, target)
	if err != nil {
		return Metadata{}, err
	}
	metadata := s.newMetadata(target)
	describe(&metadata)
	metadata.Name = target
	if old.Kind != Model {
		return s.store(old.Kind, metadata, old.Config, nil, s.newFile(old.Kind, target))
	}
	if path.Dir(file) == "." {
		return s.store(Model, metadata, old.Config, nil, target+".json")
	}
	options := repoint(old.Options(), old.Name, target).(map[string]any)
	if s.disk.exists(target) {
		return Metadata{}, refuse(ErrExists, "Configuration '%s' already exists", target)
	}
	return s.assemble(target, func(folder string) (Metadata, error) {
		if err := s.disk.copyFolder(old.Name, folder); err != nil {
			return Metadata{}, err
		}
		return s.store(Model, metadata, options, nil, path.Join(folder, "config.json"))
	})
}

// assemble fills a hidden folder and then gives it its name, so that an environment appears as a whole or not at all.
func (s *Store) assemble(name string, fill func(folder string) (Metadata, error)) (Metadata, error) {
	folder := temporaryName(temporaryPrefix)
	metadata, err := fill(folder)
	if err == nil {
		err = s.disk.move(folder, name)
	}
	if err != nil {
		_ = s.disk.root.RemoveAll(folder)
		return Metadata{}, err
	}
	return metadata, nil
}

// Import writes an export, or a bare configuration. Without a name, that of the export is taken, or one with the date.
func (s *Store) Import(kind Kind, data map[string]any, name string, overwrite bool) (Metadata, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var config any = data
	var details Details
	if exported, ok := data["_metadata"].(map[string]any); ok {
		if config, ok = data["config"]; !ok {
			return Metadata{}, refuse(ErrInvalid, "Failed to import configuration: data: it has _metadata but no config")
		}
		details.Description, _ = exported["description"].(string)
		tags, _ := exported["tags"].([]any)
		for _, tag := range tags {
			if t, ok := tag.(string); ok {
				details.Tags = append(details.Tags, t)
			}
		}
		if said, ok := exported["name"].(string); ok && strings.TrimSpace(name) == "" {
			name = said
		}
	}
	if strings.TrimSpace(name) == "" {
		name = "imported_" + s.now().Format("20060102_150405")
	}
	if overwrite {
		if metadata, err := s.update(kind, name, config, details); !errors.Is(err, ErrNotFound) {
			return metadata, err
		}
	}
	return s.create(kind, name, config, details)
}
