package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
)

func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	empty := write("empty.yaml", "")
	other := write("other.yaml", "a: 1\n")
	hub := write("hub.yaml", `
job: extension
config:
  name: run
  process:
    - type: sd_trainer
      training_folder: out
      model: {name_or_path: black-forest-labs/FLUX.1-dev}
      datasets: [{folder_path: pictures}]
`)
	tuner := write("config.json", `{"--model_family": "pixart_sigma", "model_type": "full", "max_train_steps": 10, "num_train_epochs": 0}`)
	tests := []struct {
		name string
		args []string
		code int
	}{
		{"version", []string{"version"}, exitDone},
		{"unknown command", []string{"nope"}, exitUsage},
		{"unknown flag", []string{"version", "--nope"}, exitUsage},
		{"too many arguments", []string{"version", "nope"}, exitUsage},
		{"flag missing", []string{"tokenize"}, exitUsage},
		{"no tokenizer", []string{"tokenize", "--tokenizer", dir}, exitUsage},
		{"no room for tokens", []string{"tokenize", "--tokenizer", dir, "--max", "0"}, exitUsage},
		{"no job file", []string{"train", filepath.Join(dir, "nope.yaml")}, exitUsage},
		{"empty job file", []string{"train", empty}, exitUsage},
		{"not a job", []string{"plan", other}, exitUsage},
		{"SimpleTuner's configuration without its dataloader", []string{"plan", tuner, "--data-backend", filepath.Join(dir, "nope.json")}, exitUsage},
		{"dataloader of another dialect", []string{"train", hub, "--data-backend", other}, exitUsage},
		{"model of the Hub", []string{"train", hub}, exitUsage},
		{"negative length", []string{"train", hub, "--max-steps", "-1"}, exitUsage},
		{"size", []string{"sample", "--model", dir, "--prompt", "a", "--out", dir, "--size", "7x7"}, exitUsage},
		{"guidance", []string{"sample", "--model", dir, "--prompt", "a", "--out", dir, "--guidance", "nan"}, exitUsage},
		{"no model", []string{"sample", "--model", filepath.Join(dir, "nope"), "--prompt", "a", "--out", dir}, exitUsage},
		{"unknown family", []string{"init-model", "nope", "--config", other, "--out", filepath.Join(dir, "model")}, exitUsage},
		{"unknown benchmark", []string{"bench", "nope"}, exitUsage},
		{"not a run folder", []string{"doctor", dir}, exitUsage},
		{"nothing to examine", []string{"doctor"}, exitUsage},
		{"runs without an index", []string{"doctor", "--outputs", dir}, exitUsage},
		{"no data folder", []string{"doctor", "--data", filepath.Join(dir, "nope")}, exitUsage},
		{"address", []string{"serve", "--listen", "nope"}, exitUsage},
		{"host with a port", []string{"serve", "--host", "train.example.org:8001"}, exitUsage},
		{"open to all without token", []string{"serve", "--listen", "0.0.0.0:0", "--no-auth"}, exitUsage},
		{"open to all with any script", []string{"serve", "--listen", "0.0.0.0:0", "--allow-client-scripts"}, exitUsage},
		{"script without name", []string{"serve", "--listen", "127.0.0.1:0", "--allow-script", "/opt/hook.sh"}, exitUsage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.code, run(test.args)) })
	}
	require.NoFileExists(t, filepath.Join(dir, ".lock"))
	require.NoDirExists(t, filepath.Join(dir, "model"))
}

func TestDoctorRepairsTheIndex(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "stepd.db"), []byte("this is no database, whatever it is"), 0o644))
	require.Equal(t, exitFailed, run([]string{"doctor", "--data", dir}))
	require.Equal(t, exitDone, run([]string{"doctor", "--data", dir, "--repair"}))
	require.Equal(t, exitDone, run([]string{"doctor", "--data", dir}))
}

func TestCannotRun(t *testing.T) {
	require.True(t, cannotRun(engine.NotFound))
	require.False(t, cannotRun(engine.OutOfMemory))
}
