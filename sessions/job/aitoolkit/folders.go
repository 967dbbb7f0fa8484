package aitoolkit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/stepd/stepd/sessions/job"
)

// CheckFolders tells at once, with a *job.Invalid, when the model or the pictures of a translated job are not there.
func CheckFolders(j *job.Job) error {
	var problems []job.Problem
	if stat, err := os.Stat(j.Engine.Model); err != nil || !stat.IsDir() {
		problems = append(problems, job.Problem{Field: processField + ".model.name_or_path", Message: fmt.Sprintf(
			"%s is not a folder; name a model folder in the diffusers layout on this machine (nothing is downloaded)", j.Engine.Model)})
	}
	reported := map[string]bool{}
	for _, d := range j.Datasets {
		if _, err := os.Stat(d.Folder); err != nil && !reported[d.Folder] {
			reported[d.Folder] = true
			problems = append(problems, job.Problem{Field: processField + ".datasets[].folder_path", Message: fmt.Sprintf(
				"%s cannot be read (%v); name a folder of pictures on this machine", d.Folder, err)})
		}
	}
	if len(problems) > 0 {
		return &job.Invalid{Problems: problems}
	}
	return nil
}

// WriteConfig leaves the document of a job in its run folder as config.yaml, as the original does.
func WriteConfig(runDir string, document map[string]any) error {
	// JSON is YAML already; reading it as nodes keeps the spelling of numbers.
	data, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("write config.yaml: %w", err)
	}
	var node yaml.Node
	if err := yaml.Unmarshal(data, &node); err != nil {
		return fmt.Errorf("write config.yaml: %w", err)
	}
	inBlockStyle(&node)
	if data, err = yaml.Marshal(&node); err != nil {
		return fmt.Errorf("write config.yaml: %w", err)
	}
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return fmt.Errorf("write config.yaml: %w", err)
	}
	path := filepath.Join(runDir, "config.yaml")
	if err := os.WriteFile(path+".tmp", data, 0o644); err != nil {
		return fmt.Errorf("write config.yaml: %w", err)
	}
	return os.Rename(path+".tmp", path)
}

func inBlockStyle(node *yaml.Node) {
	node.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, inner := range node.Content {
		inBlockStyle(inner)
	}
}
