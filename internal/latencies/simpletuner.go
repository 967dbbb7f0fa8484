package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

// trainingStatus is what GET /api/training/status tells.
type trainingStatus struct {
	Status   string `json:"status"`
	Progress *struct {
		Step int `json:"step"`
	} `json:"progress"`
}

// startTraining trains a model through the API of SimpleTuner. It measures the time from the request until the status
// counts a step, and that of each question for the status from then on.
func (t training) startTraining(name string, steps int) (first time.Duration, asked []time.Duration, err error) {
	dataloader := filepath.Join(t.out, "dataloader.json")
	if err := trial.WriteDataloader(dataloader, filepath.Join(t.source, "pictures"), filepath.Join(t.out, "text"), 64); err != nil {
		return 0, nil, err
	}
	began := time.Now()
	job, err := trial.StartTraining(context.Background(), t.server.URL(), nil, map[string]string{
		"model_family": "pixart_sigma", "model_type": "full", "pretrained_model_name_or_path": t.model,
		"output_dir": filepath.Join(t.out, "outputs", name), "data_backend_config": dataloader, "train_batch_size": "16",
		"mixed_precision": "bf16", "max_train_steps": strconv.Itoa(steps), "num_train_epochs": "0", "validation_disable": "true",
	})
	if err != nil {
		return 0, nil, err
	}
	for {
		asks := time.Now()
		var s trainingStatus
		if err := t.server.Call("GET", "/api/training/status", nil, &s); err != nil {
			return 0, nil, err
		}
		if first > 0 {
			asked = append(asked, time.Since(asks))
		} else if s.Progress != nil && s.Progress.Step > 0 {
			first = time.Since(began)
		}
		switch {
		case s.Status == "completed" && first > 0:
			return first, asked, nil
		case s.Status != "running" && s.Status != "starting":
			return 0, nil, fmt.Errorf("training %s is %q", job, s.Status)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
