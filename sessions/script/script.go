// Package script runs commands of the operator for events of a training, without a shell: a command line is split into
// arguments first, placeholders are replaced afterwards, so that no value can become another argument or a command.
package script

import (
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
)

// Placeholders that a run fills in itself.
const (
	LocalCheckpointPath  = "local_checkpoint_path"
	GlobalStep           = "global_step"
	RemoteCheckpointPath = "remote_checkpoint_path"
)

var placeholder = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// Parse splits a command line as a shell does, but expands nothing and knows no comments. Every {placeholder} must be one that a run fills in
// itself, or known.
func Parse(line string, known func(placeholder string) bool) ([]string, error) {
	arguments, err := split(line)
	if err != nil {
		return nil, fmt.Errorf("command line %q: %w", line, err)
	}
	if len(arguments) == 0 || arguments[0] == "" {
		return nil, errors.New("the command line is empty; name a program")
	}
	if placeholder.MatchString(arguments[0]) {
		return nil, fmt.Errorf("command line %q: the program itself cannot be a placeholder", line)
	}
	unknown := map[string]bool{}
	for _, argument := range arguments {
		for _, match := range placeholder.FindAllStringSubmatch(argument, -1) {
			unknown[match[1]] = !isOwn(match[1]) && (known == nil || !known(match[1]))
		}
	}
	var names []string
	for name, isUnknown := range unknown {
		if isUnknown {
			names = append(names, "{"+name+"}")
		}
	}
	if len(names) > 0 {
		sort.Strings(names)
		return nil, fmt.Errorf("command line %q has unknown placeholders: %s", line, strings.Join(names, ", "))
	}
	return arguments, nil
}

func isOwn(name string) bool {
	return name == LocalCheckpointPath || name == GlobalStep || name == RemoteCheckpointPath
}

// Uses tells whether a command has a placeholder.
func Uses(command []string, name string) bool {
	for _, argument := range command {
		if strings.Contains(argument, "{"+name+"}") {
			return true
		}
	}
	return false
}

// Expand replaces the placeholders of a parsed command. A value at the beginning of an argument may not start with "-",
// for the program would read it as an option.
func Expand(command []string, values map[string]string) ([]string, error) {
	expanded := make([]string, len(command))
	var problems []error
	for i, argument := range command {
		expanded[i] = placeholder.ReplaceAllStringFunc(argument, func(match string) string {
			name := match[1 : len(match)-1]
			value, ok := values[name]
			switch {
			case !ok:
				problems = append(problems, fmt.Errorf("placeholder %s has no value", match))
			case strings.ContainsRune(value, 0):
				problems = append(problems, fmt.Errorf("the value of placeholder %s has a zero byte", match))
			}
			return value
		})
		if strings.HasPrefix(expanded[i], "-") && !strings.HasPrefix(argument, "-") {
			problems = append(problems, fmt.Errorf("argument %q would become the option %q; write it after an option, as --name=%s", argument,
				expanded[i], argument))
		}
	}
	return expanded, errors.Join(problems...)
}
