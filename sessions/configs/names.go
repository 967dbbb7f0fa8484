package configs

import (
	"errors"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// longestName leaves room for ".metadata.json" within the 255 bytes of a file name.
const longestName = 200

var validName = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// reserved names are folders of the store, or paths of the API under which an environment could not be reached.
var reserved = []string{
	"active", "data-backend-file", "dataloader", "environments", "examples", "from-template", "import", "lycoris",
	"project-name", "templates", "validate", "webhooks",
}

// bareName removes what clients may put around a name: spaces and the extension of its file.
func bareName(name string) string {
	name = strings.TrimSpace(name)
	if len(name) >= 5 && strings.EqualFold(name[len(name)-5:], ".json") {
		name = strings.TrimSpace(name[:len(name)-5])
	}
	return name
}

// CleanName returns the name without ".json", or an ErrBadName.
func CleanName(name string) (string, error) {
	name = bareName(name)
	switch {
	case name == "":
		return "", refuse(ErrBadName, "Configuration name is required")
	case !validName.MatchString(name), name == ".", name == "..":
		return "", refuse(ErrBadName, "Configuration name may only contain letters, numbers, '.', '_' or '-'")
	case len(name) > longestName:
		return "", refuse(ErrBadName, "Configuration name may not be longer than %d characters", longestName)
	}
	return name, nil
}

// known returns the name without ".json" and the file of a configuration that exists. Names that SimpleTuner's own folders
// have, as "a+b", are taken although new ones are not.
func (s *Store) known(kind Kind, name string) (clean, file string, err error) {
	clean = bareName(name)
	file, err = s.find(kind, clean)
	if errors.Is(err, ErrNotFound) {
		if _, bad := CleanName(name); bad != nil {
			err = bad
		}
	}
	return clean, file, err
}

// reachable tells whether a name can be that of a file or folder of the store.
func reachable(name string) bool {
	return name != "" && len(name) <= 255 && !strings.HasPrefix(name, ".") && !strings.ContainsAny(name, "/\\\x00")
}

// newName also refuses names that the store or the API needs for itself.
func newName(name string) (string, error) {
	name, err := CleanName(name)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".metadata") || slices.Contains(reserved, name) {
		return "", refuse(ErrBadName, "Configuration name '%s' is reserved; choose another one", name)
	}
	return name, nil
}

// inside returns the path relative to the folder, with slashes, of a file that a client names: absolute, or relative to the
// folder or to the one above it ("config/x.json" is "x.json" there). what names the file in the error.
func (s *Store) inside(file, what string) (string, error) {
	outside := refuse(ErrOutside, "%s", what)
	if strings.ContainsRune(file, 0) || strings.TrimSpace(file) == "" || len(file) > 4096 {
		return "", outside
	}
	if filepath.IsAbs(file) {
		relative, err := filepath.Rel(s.dir, file)
		if err != nil {
			return "", outside
		}
		file = relative
	}
	file = path.Clean(filepath.ToSlash(file))
	if !filepath.IsLocal(file) || file == "." {
		return "", outside
	}
	if above, ok := strings.CutPrefix(file, "config/"); ok && !s.disk.exists(file) {
		file = above
	}
	if s.disk.leadsOut(file) {
		return "", outside
	}
	return file, nil
}
