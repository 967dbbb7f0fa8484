package configs

// activeFile names the active environment, so that the choice survives restarts.
const activeFile = ".active.json"

// active returns the chosen environment while it exists, else the default one, else "".
func (s *Store) active() string {
	value, err := s.disk.readJSON(activeFile, activeFile)
	if object, ok := value.(map[string]any); err == nil && ok {
		if name, ok := object["active_config"].(string); ok {
			if _, err := s.find(Model, name); err == nil {
				return name
			}
		}
	}
	if _, err := s.find(Model, defaultName); err == nil {
		return defaultName
	}
	return ""
}

func (s *Store) setActive(name string) error {
	return s.disk.writeJSON(activeFile, map[string]any{"active_config": name}, 0o644)
}

// ActiveName is the name of the active environment; "" when there is none.
func (s *Store) ActiveName() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.active()
}

// Active returns the active environment: its name and its options as stored. The name is "" when there is none.
func (s *Store) Active() (name string, options map[string]any, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	name = s.active()
	if name == "" {
		return "", map[string]any{}, nil
	}
	d, err := s.get(Model, name)
	return name, d.Options(), err
}

// Activate chooses the active environment.
func (s *Store) Activate(name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, _, err := s.read(Model, name)
	if err != nil {
		return "", err
	}
	return d.Name, s.setActive(d.Name)
}
