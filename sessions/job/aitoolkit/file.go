package aitoolkit

import (
	"fmt"
	"os"
	"regexp"

	"gopkg.in/yaml.v3"
)

var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// ReadFile parses a job file, YAML or JSON, and replaces ${NAME} by environment variables. Jobs that arrive over HTTP
// are never substituted.
func ReadFile(path string) (map[string]any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read job: %w", err)
	}
	var missing string
	text := variable.ReplaceAllStringFunc(string(data), func(match string) string {
		name := variable.FindStringSubmatch(match)[1]
		value, ok := os.LookupEnv(name)
		if !ok {
			missing = name
		}
		return value
	})
	if missing != "" {
		return nil, fmt.Errorf("read job %s: it uses ${%s}, which is not set in the environment", path, missing)
	}
	var document map[string]any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		var list []any
		if yaml.Unmarshal([]byte(text), &list) == nil {
			return nil, fmt.Errorf("read job %s: it is a list, and a job is an object; SimpleTuner's lists of datasets are named by data_backend_config", path)
		}
		return nil, fmt.Errorf("read job %s: %w", path, err)
	}
	if document == nil {
		return nil, fmt.Errorf("read job %s: it is empty", path)
	}
	return document, nil
}

// IsJob tells whether a parsed document is an AI-Toolkit job, as opposed to another dialect's.
func IsJob(document map[string]any) bool {
	config, ok := document["config"].(map[string]any)
	return ok && config["process"] != nil
}
