package configs

import (
	"errors"
	"path"
)

// webhookFolder holds receivers of events.
const webhookFolder = "webhooks"

// SaveWebhook creates or replaces a receiver of events.
func (s *Store) SaveWebhook(name string, config map[string]any) (place FilePlace, created bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.update(Webhook, name, config, Details{})
	if created = errors.Is(err, ErrNotFound); created {
		_, err = s.create(Webhook, name, config, Details{})
	}
	if err != nil {
		return FilePlace{}, false, err
	}
	file, err := s.find(Webhook, bareName(name))
	return s.place(file), created, err
}

const outsideLycoris = "LyCORIS configuration files must reside within the configs directory"

// LycorisConfig returns the LyCORIS file that an environment names, or the one in its folder.
func (s *Store) LycorisConfig(environment string) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	name := bareName(environment)
	missing := refuse(ErrNotFound, "No Lycoris configuration found for environment '%s'", name)
	d, err := s.get(Model, name)
	if errors.Is(err, ErrNotFound) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	file, err := s.lycorisFile(name, d.Options())
	if err != nil {
		return nil, err
	}
	if !s.disk.exists(file) {
		return nil, missing
	}
	value, err := s.disk.readJSON(file, "LyCORIS configuration '"+file+"'")
	if err == nil && !fits(Lycoris, value) {
		return nil, refuse(ErrBroken, "'%s' is not a LyCORIS configuration: it has no algo", file)
	}
	return value, err
}

func (s *Store) lycorisFile(environment string, options map[string]any) (string, error) {
	if named := text(options, "lycoris_config"); named != "" {
		return s.inside(named, outsideLycoris)
	}
	return path.Join(environment, folderFile[Lycoris]), nil
}

// SaveLycoris writes the LyCORIS file of an environment and names it in its options.
func (s *Store) SaveLycoris(environment string, config map[string]any) (FilePlace, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, file, err := s.known(Model, environment)
	if errors.Is(err, ErrNotFound) {
		return FilePlace{}, refuse(ErrNotFound, "Environment '%s' not found", name)
	}
	if err != nil {
		return FilePlace{}, err
	}
	d, err := s.load(Model, name, file)
	if err != nil {
		return FilePlace{}, err
	}
	options := d.Options()
	file, err = s.lycorisFile(name, options)
	if err != nil {
		return FilePlace{}, err
	}
	if old, err := s.disk.readJSON(file, file); err == nil && !fits(Lycoris, old) {
		return FilePlace{}, refuse(ErrExists, "'%s' already exists and is not a LyCORIS configuration", file)
	}
	if path.Ext(file) != ".json" {
		return FilePlace{}, refuse(ErrOutside, "lycoris_config: '%s' does not end in .json", file)
	}
	if err := s.disk.writeJSON(file, config, 0o644); err != nil {
		return FilePlace{}, err
	}
	set(options, "lycoris_config", file)
	_, err = s.update(Model, name, options, Details{})
	return s.place(file), err
}
