package configs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Kind is what a configuration configures.
type Kind string

// The kinds of configurations.
const (
	Model      Kind = "model"
	Dataloader Kind = "dataloader"
	Webhook    Kind = "webhook"
	Lycoris    Kind = "lycoris"
	Template   Kind = "template"
)

// Document is a configuration: an object, or for a dataloader a list.
type Document struct {
	Kind     Kind
	Name     string
	Config   any
	Metadata Metadata
}

// Options returns the options of a Model.
func (d Document) Options() map[string]any {
	options, _ := d.Config.(map[string]any)
	return options
}

// Store is a folder of configurations. It is safe for concurrent use.
type Store struct {
	dir  string
	disk disk
	now  func() time.Time
	// mu makes changes of several files, and reading them, happen one after the other.
	mu sync.RWMutex
}

// defaultName is the environment that others start from, and that is active as long as no other one was chosen.
const defaultName = "default"

// Open opens a folder, makes it and its default environment where they are missing, and clears away what a crash left.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open configs directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open configs directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open configs directory: %w", err)
	}
	s := &Store{dir: dir, disk: disk{root: root}, now: time.Now}
	if err := s.disk.clear("."); err != nil {
		return nil, errors.Join(fmt.Errorf("open configs directory %s: %w", dir, err), root.Close())
	}
	if _, err := s.find(Model, defaultName); errors.Is(err, ErrNotFound) {
		if err := s.disk.writeJSON(defaultName+".json", defaultOptions(), 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("open configs directory %s: %w", dir, err), root.Close())
		}
	}
	return s, nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.disk.root.Close() }

// Dir is the absolute path of the folder.
func (s *Store) Dir() string { return s.dir }

// defaultOptions are what SimpleTuner writes into a new default.json.
func defaultOptions() map[string]any {
	return map[string]any{
		"--output_dir": "output/models", "--train_batch_size": 1, "--learning_rate": 0.0001, "--checkpoint_step_interval": 100,
		"--checkpoint_epoch_interval": nil, "--seed": 42, "--resolution": 1024, "--mixed_precision": "bf16",
		"--gradient_checkpointing": true, "--use_ema": false,
	}
}

// folderFile is the name of a kind's file in the folder of an environment.
var folderFile = map[Kind]string{Model: "config.json", Dataloader: "multidatabackend.json", Lycoris: "lycoris_config.json"}

// find returns the file of a configuration.
func (s *Store) find(kind Kind, name string) (string, error) {
	missing := refuse(ErrNotFound, "Configuration '%s' not found", name)
	if !reachable(name) {
		return "", missing
	}
	if folder, stem, other := strings.Cut(name, ":"); other && kind == Dataloader {
		if file := path.Join(folder, stem+".json"); strings.HasPrefix(stem, "multidatabackend") && s.disk.exists(file) {
			return file, nil
		}
		return "", missing
	}
	if kind == Webhook {
		for _, file := range []string{path.Join(webhookFolder, name+".json"), path.Join(webhookFolder, name, "webhook_config.json")} {
			if s.disk.exists(file) {
				return file, nil
			}
		}
		return "", missing
	}
	inFolder, known := folderFile[kind]
	if !known {
		return "", missing
	}
	if file := path.Join(name, inFolder); s.disk.exists(file) {
		return file, nil
	}
	file := name + ".json"
	value, err := s.disk.readJSON(file, "configuration '"+name+"'")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", missing
	case errors.Is(err, ErrBroken) && kind == Model:
		return file, nil // reading it again says what is wrong
	case err != nil:
		return "", err
	case !fits(kind, value):
		return "", missing
	}
	return file, nil
}

// newFile is where a configuration that does not exist yet will lie: in the folder of its name if there is one.
func (s *Store) newFile(kind Kind, name string) string {
	if kind == Webhook {
		return path.Join(webhookFolder, name+".json")
	}
	if s.disk.exists(name) {
		return path.Join(name, folderFile[kind])
	}
	return name + ".json"
}

// fits tells whether the content of a file that lies beside the folders is of this kind.
func fits(kind Kind, value any) bool {
	_, list := value.([]any)
	object, _ := value.(map[string]any)
	_, datasets := object["datasets"].([]any)
	_, webhook := object["webhook_type"]
	_, lycoris := object["algo"]
	switch kind {
	case Dataloader:
		return list || datasets
	case Webhook:
		return webhook
	case Lycoris:
		return lycoris
	}
	return object != nil && !datasets && !webhook && !lycoris
}

// load reads a configuration from its file. Options of a Model are folded, also those that older versions wrote twice.
func (s *Store) load(kind Kind, name, file string) (Document, error) {
	value, err := s.disk.readJSON(file, "configuration '"+name+"'")
	if err != nil {
		return Document{}, err
	}
	d := Document{Kind: kind, Name: name, Config: value, Metadata: s.metadata(kind, name, file)}
	object, isObject := value.(map[string]any)
	if kind == Dataloader {
		if datasets, ok := object["datasets"].([]any); ok {
			d.Config = datasets
		} else if _, ok := value.([]any); !ok {
			return Document{}, refuse(ErrBroken, "Dataloader '%s' is not a list of datasets", name)
		}
		return d, nil
	}
	if !isObject {
		return Document{}, refuse(ErrBroken, "Configuration '%s' is not a JSON object", name)
	}
	if kind == Model {
		options := fold(unwrap(object), nil)
		d.Config = options
		d.Metadata.describe(options)
	}
	return d, nil
}

// unwrap returns the options of a file that holds an export, with "_metadata" and "config", or plain options.
func unwrap(object map[string]any) map[string]any {
	if _, exported := object["_metadata"]; !exported {
		return object
	}
	if inner, ok := object["config"].(map[string]any); ok {
		return inner
	}
	options := make(map[string]any, len(object))
	for key, value := range object {
		if key != "_metadata" {
			options[key] = value
		}
	}
	return options
}

// Get returns a configuration; the options of a Model are as stored.
func (s *Store) Get(kind Kind, name string) (Document, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.get(kind, bareName(name))
}

func (s *Store) get(kind Kind, name string) (Document, error) {
	file, err := s.find(kind, name)
	if err != nil {
		return Document{}, err
	}
	return s.load(kind, name, file)
}

// put writes a configuration and its metadata to file.
func (s *Store) put(d Document, file string) error {
	if d.Kind == Model {
		if err := s.disk.writeJSON(metadataFile(file), d.Metadata, 0o644); err != nil {
			return err
		}
	}
	mode := fs.FileMode(0o644)
	if _, notifies := lookup(d.Options(), "webhook_config"); d.Kind == Webhook || notifies {
		mode = 0o600 // it may hold a token
	}
	return s.disk.writeJSON(file, d.Config, mode)
}

// Shown is the configuration as clients get it: options of a Model name the dataloader in both spellings.
func (d Document) Shown() any {
	if d.Kind == Model {
		return shown(d.Options())
	}
	return d.Config
}

var (
	projectAdjectives = []string{"amber", "bold", "calm", "crisp", "early", "gentle", "golden", "keen", "lucid", "mellow", "quiet", "rapid", "silver", "vivid", "warm", "young"}
	projectNouns      = []string{"aurora", "brook", "cedar", "comet", "dune", "ember", "falcon", "harbor", "island", "lantern", "meadow", "orchid", "pebble", "river", "summit", "willow"}
)

// ProjectName makes up a name such as "amber-aurora".
func ProjectName() string { return pick(projectAdjectives) + "-" + pick(projectNouns) }

func pick(words []string) string {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(len(words))))
	if err != nil {
		return words[0]
	}
	return words[n.Int64()]
}
