package script

import (
	"fmt"
	"slices"
	"strings"
)

// Allow is what the operator lets clients run. A nil Allow allows nothing.
type Allow struct {
	commands map[string]string // command lines by name
	any      bool
}

// ParseAllow reads definitions of the form NAME=COMMAND…; any lets clients run whatever they like.
func ParseAllow(definitions []string, any bool) (*Allow, error) {
	a := &Allow{commands: map[string]string{}, any: any}
	for _, definition := range definitions {
		name, line, ok := strings.Cut(definition, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t/") {
			return nil, fmt.Errorf("%q is not NAME=COMMAND, where the name has neither spaces nor slashes", definition)
		}
		if _, exists := a.commands[name]; exists {
			return nil, fmt.Errorf("the name %q is defined twice", name)
		}
		// Which placeholders there are depends on the job; here only the syntax counts.
		if _, err := Parse(line, func(string) bool { return true }); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		a.commands[name] = line
	}
	return a, nil
}

// Resolve returns the command line that a client means, who wrote a defined name or a whole command line, and whether
// it may run.
func (a *Allow) Resolve(command string) (line string, ok bool) {
	if a == nil {
		return "", false
	}
	command = strings.TrimSpace(command)
	if line, ok := a.commands[command]; ok {
		return line, true
	}
	for _, line := range a.commands {
		if line == command {
			return line, true
		}
	}
	return command, a.any
}

// Permits tells whether a job that was made earlier may start a parsed command now.
func (a *Allow) Permits(command []string) bool {
	if a == nil || a.any {
		return a != nil
	}
	for _, line := range a.commands {
		if allowed, err := Parse(line, func(string) bool { return true }); err == nil && slices.Equal(allowed, command) {
			return true
		}
	}
	return false
}
