package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// ManifestName is the file that makes a folder a checkpoint; it is written last.
const ManifestName = "manifest.json"

// manifestFormat is raised when older programs could misread a manifest.
const manifestFormat = 2

// Manifest binds the files of a checkpoint to one step of one job.
type Manifest struct {
	Format int   `json:"format"`
	Step   int64 `json:"step"`
	Epoch  int64 `json:"epoch"`
	// Budget is the number of steps allowed when the checkpoint was made; when that is Step, a budget was used up here.
	Budget int64 `json:"budget"`
	// MicroBatch is the data cursor: the global index of the next micro-batch, where a resumed run continues.
	MicroBatch int64 `json:"micro_batch"`
	// EvaluationOwed tells that the losses that are due at this step were cut short.
	EvaluationOwed bool `json:"evaluation_owed,omitempty"`
	// Reason is why it was made: "budget", "interval", "rolling", "manual", "abort", "final", "stop" or "error".
	Reason string `json:"reason"`
	// Name of the run.
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Data is the fingerprint of the data set.
	Data string `json:"data,omitempty"`
	// Build is the version of the core that wrote the state.
	Build string `json:"build"`
	// Weights is the file or folder for other programs, relative to the checkpoint folder.
	Weights string `json:"weights,omitempty"`
	// Published are the names under which Weights also appears, relative to the run folder.
	Published []string `json:"published,omitempty"`
	// Files lists everything else in the folder, by path with slashes.
	Files map[string]File `json:"files"`
	// Digest is the SHA-256 of the manifest as it is written while Digest is empty.
	Digest string `json:"digest"`
}

// File is one file of a checkpoint.
type File struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all files.
func (m *Manifest) Bytes() int64 {
	var total int64
	for _, file := range m.Files {
		total += file.Size
	}
	return total
}

// encode sets Digest and returns the content of the file.
func (m *Manifest) encode() ([]byte, error) {
	m.Digest = ""
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	m.Digest = hex.EncodeToString(sum[:])
	data, err = json.MarshalIndent(m, "", "  ")
	return append(data, '\n'), err
}

// ReadManifest reads and checks the manifest of a checkpoint folder, but none of the other files.
func ReadManifest(dir string) (*Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", path, err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("manifest %s has format %d; this version reads %d", path, m.Format, manifestFormat)
	}
	if written, err := m.encode(); err != nil || !bytes.Equal(written, data) {
		return nil, fmt.Errorf("manifest %s has another content than when it was written", path)
	}
	if name := filepath.Base(dir); !isNameOf(name, m.Step) && !strings.HasPrefix(name, tmpPrefix) {
		return nil, fmt.Errorf("manifest %s is of step %d, whose folder would be %s", path, m.Step, folderName(m.Step, m.Reason))
	}
	for _, name := range append([]string{m.Weights}, m.Published...) {
		if name != "" && !filepath.IsLocal(name) {
			return nil, fmt.Errorf("manifest %s names %q, which leaves the folder", path, name)
		}
	}
	for name := range m.Files {
		if !filepath.IsLocal(name) {
			return nil, fmt.Errorf("manifest %s names %q, which leaves the folder", path, name)
		}
	}
	return &m, nil
}

// Verify reads a checkpoint folder and compares every file with the manifest. All differences are reported.
func Verify(dir string) (*Manifest, error) {
	m, err := ReadManifest(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(m.Files))
	for name := range m.Files {
		names = append(names, name)
	}
	sort.Strings(names)
	var problems []error
	for _, name := range names {
		got, err := hashFile(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			problems = append(problems, fmt.Errorf("%s is missing", name))
		case err != nil:
			problems = append(problems, err)
		case got.Size != m.Files[name].Size:
			problems = append(problems, fmt.Errorf("%s has %d bytes instead of %d", name, got.Size, m.Files[name].Size))
		case got != m.Files[name]:
			problems = append(problems, fmt.Errorf("%s has another content than when it was written", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("verify checkpoint %s: %w", dir, err)
	}
	return m, nil
}

func hashFile(path string) (File, error) {
	file, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return File{}, err
	}
	return File{Size: size, SHA256: hex.EncodeToString(hash.Sum(nil))}, nil
}

// writeManifest hashes and syncs everything in dir, then writes and syncs the manifest, then syncs the folders.
func writeManifest(fsys FS, dir string, m *Manifest) error {
	m.Format = manifestFormat
	m.Files = map[string]File{}
	var folders []string
	err := walk(dir, func(name string, entry fs.DirEntry) error {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if entry.IsDir() {
			folders = append(folders, path)
			return nil
		}
		if err := fsys.Sync(path); err != nil {
			return err
		}
		file, err := hashFile(path)
		m.Files[name] = file
		return err
	})
	if err != nil {
		return err
	}
	data, err := m.encode()
	if err != nil {
		return err
	}
	if err := fsys.WriteFile(filepath.Join(dir, ManifestName), data); err != nil {
		return err
	}
	for _, folder := range folders {
		if err := fsys.Sync(folder); err != nil {
			return err
		}
	}
	return nil
}
