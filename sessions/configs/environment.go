package configs

import (
	"path"
	"path/filepath"
	"strings"

	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// EnvironmentRequest asks for a new environment with a folder.
type EnvironmentRequest struct {
	Name, ModelFamily, ModelFlavour, ModelType, LoraType, Description string
	// Example names a shipped example to start from; empty: the default environment.
	Example string
	// DataloaderPath is where the dataloader lies; empty: in the folder of the environment.
	DataloaderPath string
	// NoDataloader makes no dataloader file; DataloaderPath must name one that exists.
	NoDataloader bool
}

// FilePlace is where a file lies.
type FilePlace struct {
	Path     string `json:"path"` // relative to the configs directory
	Absolute string `json:"absolute_path"`
	// Backup is the file that keeps what was there before, relative to the configs directory.
	Backup string `json:"backup,omitempty"`
}

// Environment is a new environment.
type Environment struct {
	Metadata   Metadata
	Path       string // absolute
	Options    map[string]any
	Dataloader FilePlace
}

func (s *Store) place(file string) FilePlace {
	return FilePlace{Path: file, Absolute: filepath.Join(s.dir, filepath.FromSlash(file))}
}

const outsideDataloader = "Dataloader configs must live within the configs directory"

// dataloaderPlace is where the dataloader of an environment is to lie: where the client says, or in its folder.
func (s *Store) dataloaderPlace(environment, requested string) (string, error) {
	if requested == "" {
		return path.Join(environment, folderFile[Dataloader]), nil
	}
	file, err := s.inside(requested, outsideDataloader)
	if err != nil {
		return "", err
	}
	hidden := strings.Contains("/"+file, "/.")
	if hidden || path.Ext(file) != ".json" || strings.HasSuffix(file, ".metadata.json") || path.Base(file) == folderFile[Model] {
		return "", refuse(ErrOutside, "path: '%s' cannot be the file of a dataloader; name a file that ends in .json", requested)
	}
	return file, nil
}

// CreateEnvironment makes an environment and its starter dataloader.
func (s *Store) CreateEnvironment(request EnvironmentRequest) (*Environment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, err := newName(request.Name)
	if err != nil {
		return nil, err
	}
	if s.disk.exists(name) {
		return nil, refuse(ErrExists, "Environment '%s' already exists", name)
	}
	if _, err := s.find(Model, name); err == nil {
		return nil, refuse(ErrExists, "Environment '%s' already exists", name)
	}
	dataloader, err := s.dataloaderPlace(name, request.DataloaderPath)
	if err != nil {
		return nil, err
	}
	switch exists := s.disk.exists(dataloader); {
	case request.NoDataloader && !exists:
		return nil, refuse(ErrNotFound, "Dataloader configuration not found: %s", dataloader)
	case !request.NoDataloader && exists:
		return nil, refuse(ErrExists, "Dataloader config already exists at '%s'", dataloader)
	}
	options, datasets, err := s.startingPoint(name, request)
	if err != nil {
		return nil, err
	}
	set(options, dataloaderOption, dataloader)
	metadata := s.newMetadata(name)
	metadata.apply(Details{Description: request.Description})
	metadata, err = s.assemble(name, func(folder string) (Metadata, error) {
		if !request.NoDataloader {
			file := dataloader
			if rest, within := strings.CutPrefix(dataloader, name+"/"); within {
				file = path.Join(folder, rest)
			}
			if err := s.disk.writeJSON(file, datasets, 0o644); err != nil {
				return Metadata{}, err
			}
		}
		return s.store(Model, metadata, options, nil, path.Join(folder, folderFile[Model]))
	})
	if err != nil {
		return nil, err
	}
	return &Environment{Metadata: metadata, Path: s.place(name).Absolute, Options: options, Dataloader: s.place(dataloader)}, nil
}

// startingPoint returns the options and the datasets of a new environment.
func (s *Store) startingPoint(name string, request EnvironmentRequest) (map[string]any, []any, error) {
	if request.Example != "" {
		example, err := findExample(request.Example)
		if err != nil {
			return nil, nil, err
		}
		return example.Options, example.Datasets, nil
	}
	options := map[string]any{}
	if d, err := s.get(Model, defaultName); err == nil {
		options = d.Options()
	}
	// What a one-off run has left in the default about its model does not go with another one.
	for _, name := range []string{"pretrained_model_name_or_path", "model_flavour", "lora_type", "lycoris_config"} {
		delete(options, name)
		delete(options, dashes+name)
	}
	modelType := request.ModelType
	if modelType == "" {
		modelType = "lora"
	}
	set(options, "--model_family", request.ModelFamily)
	set(options, "--model_type", modelType)
	set(options, "--output_dir", "output/"+name)
	if request.ModelFlavour != "" {
		set(options, "--model_flavour", request.ModelFlavour)
	}
	if modelType == "lora" {
		loraType := request.LoraType
		if loraType == "" {
			loraType = "standard"
		}
		set(options, "--lora_type", loraType)
	}
	return options, simpletuner.Starter(name), nil
}

// RegenerateDataloader writes a starter dataloader (or, without starter, an empty one), and points the environment to it.
// A dataloader that is there already is kept as a backup.
func (s *Store) RegenerateDataloader(environment, requested string, starter bool) (Metadata, FilePlace, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, file, err := s.known(Model, environment)
	if err != nil {
		return Metadata{}, FilePlace{}, err
	}
	d, err := s.load(Model, name, file)
	if err != nil {
		return Metadata{}, FilePlace{}, err
	}
	file, err = s.dataloaderPlace(name, requested)
	if err != nil {
		return Metadata{}, FilePlace{}, err
	}
	place := s.place(file)
	if s.disk.exists(file) {
		if place.Backup, err = s.backUp(file); err != nil {
			return Metadata{}, FilePlace{}, err
		}
	}
	datasets := []any{}
	if starter {
		datasets = simpletuner.Starter(name)
	}
	if err := s.disk.writeJSON(file, datasets, 0o644); err != nil {
		return Metadata{}, FilePlace{}, err
	}
	options := d.Options()
	set(options, dataloaderOption, file)
	metadata, err := s.update(Model, name, options, Details{})
	return metadata, place, err
}

// backUp copies a dataloader, however broken, to a name that is no configuration; files of other kinds are refused.
func (s *Store) backUp(file string) (string, error) {
	if value, err := s.disk.readJSON(file, "'"+file+"'"); err == nil && !fits(Dataloader, value) {
		return "", refuse(ErrExists, "'%s' already exists and is not a dataloader", file)
	}
	data, err := s.disk.read(file)
	if err != nil {
		return "", err
	}
	backup := file + ".backup-" + s.now().UTC().Format("20060102-150405")
	for s.disk.exists(backup) {
		backup += "a"
	}
	return backup, s.disk.write(backup, data, 0o644)
}

// ReadFile returns the JSON of a dataloader file in the configs directory.
func (s *Store) ReadFile(file string) (any, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, value, err := s.dataloaderFile(file)
	return value, err
}

// DeleteDataloader removes a dataloader file; environments that name it have to be given another one. A file that cannot be
// read may be anything, and stays.
func (s *Store) DeleteDataloader(file string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, _, err := s.dataloaderFile(file)
	if err != nil {
		return err
	}
	return s.disk.remove(name)
}

// dataloaderFile finds a dataloader by the path of its file.
func (s *Store) dataloaderFile(file string) (name string, content any, err error) {
	name, err = s.inside(file, "Resolved path is outside allowed directories")
	if err != nil {
		return "", nil, err
	}
	if strings.HasPrefix(name, webhookFolder+"/") || strings.Contains("/"+name, "/.") || path.Ext(name) != ".json" {
		return "", nil, refuse(ErrOutside, "path: '%s' is not the file of a dataloader", file)
	}
	if !s.disk.exists(name) {
		return "", nil, refuse(ErrNotFound, "Data backend config file not found: %s", file)
	}
	content, err = s.disk.readJSON(name, "data backend config file")
	if err == nil && !fits(Dataloader, content) {
		return "", nil, refuse(ErrOutside, "path: '%s' is not the file of a dataloader: neither a list nor an object with datasets", file)
	}
	return name, content, err
}
