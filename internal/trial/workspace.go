package trial

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Workspace makes paths absolute and removes what is at out.
func Workspace(out *string, others ...*string) error {
	for _, path := range append(others, out) {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	return os.RemoveAll(*out)
}

// MakeModel copies a model folder, changes the configuration of its transformer, if asked to, and lets stepd make random
// weights for it.
func MakeModel(program, source, model string, change map[string]int) error {
	if err := os.CopyFS(model, os.DirFS(source)); err != nil {
		return fmt.Errorf("copy the model folder: %w", err)
	}
	path := filepath.Join(model, "transformer", "config.json")
	if err := changeConfig(path, change); err != nil {
		return err
	}
	output, err := exec.Command(program, "init-model", "pixart", "--config", path, "--seed", "1", "--out", filepath.Dir(path)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("stepd init-model: %w\n%s", err, output)
	}
	return nil
}

func changeConfig(path string, change map[string]int) error {
	if len(change) == 0 {
		return nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for name, value := range change {
		config[name] = value
	}
	if data, err = json.MarshalIndent(config, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
