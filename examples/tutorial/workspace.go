package main

import (
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/image/draw"

	"github.com/stepd/stepd/internal/trial"
)

// workspace is the folder in which the commands run: what the tutorial calls the SimpleTuner checkout.
type workspace struct {
	program string
	dir     string
	paths   *strings.Replacer // of the tutorial's absolute paths
}

const (
	modelName = "terminusresearch/pixart-900m-1024-ft-v0.6"
	// edge of the pictures, which the tutorial's dataloader wants above 0.25 megapixels.
	edge = 640
)

// newWorkspace makes the model folder and the datasets that the tutorial expects to be there.
func newWorkspace(program, source, out string) (*workspace, error) {
	if err := trial.Workspace(&out, &program, &source); err != nil {
		return nil, err
	}
	w := &workspace{program: program, dir: out, paths: strings.NewReplacer("/data/", out+"/data/", "/workspace/", out+"/workspace/", "/tmp/", out+"/tmp/")}
	for _, dir := range []string{"config", "tmp", "workspace", "data/datasets/demo", "data/datasets/pseudo-camera-10k"} {
		if err := os.MkdirAll(filepath.Join(out, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := w.makeModel(filepath.Join(source, "model")); err != nil {
		return nil, fmt.Errorf("make a model: %w", err)
	}
	if err := w.makePictures(filepath.Join(source, "pictures")); err != nil {
		return nil, fmt.Errorf("make datasets: %w", err)
	}
	return w, nil
}

// makeModel makes a transformer so small that thousands of steps at a megapixel take minutes on two cores: 256 tokens of
// 64×64 pixels, one layer.
func (w *workspace) makeModel(source string) error {
	return trial.MakeModel(w.program, source, filepath.Join(w.dir, "models", modelName), map[string]int{"num_layers": 1, "num_attention_heads": 2,
		"attention_head_dim": 32, "cross_attention_dim": 64, "patch_size": 16, "sample_size": 256})
}

// makePictures enlarges the pictures; one dataset has captions in text files, the other in file names.
func (w *workspace) makePictures(source string) error {
	pictures, err := filepath.Glob(filepath.Join(source, "*.png"))
	if err != nil || len(pictures) == 0 {
		return errors.Join(err, fmt.Errorf("no pictures in %s", source))
	}
	for _, picture := range pictures {
		stem := strings.TrimSuffix(filepath.Base(picture), ".png")
		caption, err := os.ReadFile(filepath.Join(source, stem+".txt"))
		if err != nil {
			return err
		}
		demo := filepath.Join(w.dir, "data", "datasets", "demo", stem)
		named := filepath.Join(w.dir, "data", "datasets", "pseudo-camera-10k", strings.ReplaceAll(stem, "-", "_"))
		err = errors.Join(enlarge(picture, demo+".png"), os.WriteFile(demo+".txt", caption, 0o644), enlarge(picture, named+".png"))
		if err != nil {
			return err
		}
	}
	return nil
}

func enlarge(from, to string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	small, err := png.Decode(file)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	large := image.NewRGBA(image.Rect(0, 0, edge, edge))
	draw.NearestNeighbor.Scale(large, large.Bounds(), small, small.Bounds(), draw.Src, nil)
	if file, err = os.Create(to); err != nil {
		return err
	}
	return errors.Join(png.Encode(file, large), file.Close())
}
