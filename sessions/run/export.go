package run

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// Names of what a run leaves for other programs.
const (
	adapterFile    = "pytorch_lora_weights.safetensors"
	transformerDir = "transformer"
	averagedDir    = "ema"
	pipelineDir    = "pipeline"
	stateFile      = "training_state.json"
)

// stateDir is the part of a checkpoint that the engine saves and restores.
func stateDir(path string) string { return filepath.Join(path, "state") }

// write fills a checkpoint folder and returns the part that is for other programs.
func (r *run) write(ctx context.Context, dir string) (string, error) {
	if err := os.Mkdir(stateDir(dir), 0o755); err != nil {
		return "", err
	}
	if _, err := r.session.Save(ctx, stateDir(dir)); err != nil {
		return "", err
	}
	if err := r.writeSteps(dir); err != nil {
		return "", err
	}
	weights := transformerDir
	if r.job.Engine.Adapter != nil {
		weights = adapterFile
	}
	averaged := r.job.Engine.EMA != nil
	if r.job.Save.Style != job.StyleSimpleTuner {
		return weights, r.export(ctx, filepath.Join(dir, weights), averaged)
	}
	if err := r.writeTrainingState(filepath.Join(dir, stateFile)); err != nil {
		return "", err
	}
	if err := r.export(ctx, filepath.Join(dir, weights), false); err != nil || !averaged {
		return weights, err
	}
	// The averaged weights lie beside the trained ones, and are those that the run publishes.
	if err := os.Mkdir(filepath.Join(dir, averagedDir), 0o755); err != nil {
		return "", err
	}
	weights = filepath.Join(averagedDir, weights)
	return weights, r.export(ctx, filepath.Join(dir, weights), true)
}

func (r *run) export(ctx context.Context, path string, averaged bool) error {
	return r.session.Export(ctx, engine.Export{Path: path, Format: "diffusers", DType: r.job.Save.DType, EMA: averaged, Metadata: r.metadata()})
}

// metadata goes into exported files.
func (r *run) metadata() map[string]string {
	metadata := map[string]string{"format": "pt"}
	for key, value := range r.job.Metadata {
		metadata[key] = value
	}
	metadata["training_info"] = fmt.Sprintf(`{"step": %d, "epoch": %d}`, r.step, r.ready.EpochOf(r.step))
	return metadata
}

// trainingState is training_state.json as SimpleTuner's tools read it. Epochs count from 1.
type trainingState struct {
	GlobalStep        int64          `json:"global_step"`
	EpochStep         int64          `json:"epoch_step"`
	Epoch             int64          `json:"epoch"`
	ExhaustedBackends []string       `json:"exhausted_backends"`
	Repeats           map[string]int `json:"repeats"`
	Loss              float64        `json:"loss"`
	LearningRate      float64        `json:"learning_rate"`
}

// writeTrainingState is for other programs; stepd itself resumes from the state folder and the manifest.
func (r *run) writeTrainingState(path string) error {
	epoch := r.ready.EpochOf(r.step)
	inEpoch := r.ready.BatchAt(r.step) - r.ready.Epochs.Start(epoch)
	state := trainingState{GlobalStep: r.step, Epoch: epoch + 1, EpochStep: inEpoch / r.ready.Accumulation, ExhaustedBackends: []string{},
		Repeats: map[string]int{}, Loss: r.lastStep.Loss, LearningRate: r.lastStep.LR}
	for _, d := range r.job.Datasets {
		state.Repeats[d.ID] = d.Repeats
	}
	data, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
