package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
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
	Info *struct {
		Message string `json:"message"`
	} `json:"job_info"`
}

// startTraining trains a model through the API of SimpleTuner. It measures the time from the request until the status
// counts a step, and that of each question for the status from then on.
func (t training) startTraining(name string, steps int) (first time.Duration, asked []time.Duration, err error) {
	form, err := t.form(name, steps)
	if err != nil {
		return 0, nil, err
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	began := time.Now()
	page, err := trial.Call(context.Background(), "POST", t.server.URL()+"/api/training/start", header, []byte(form.Encode()))
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
			return 0, nil, fmt.Errorf("the training is %q: %s", s.Status, page)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// form is the body of POST /api/training/start, with a dataloader file beside the model.
func (t training) form(name string, steps int) (url.Values, error) {
	dataloader := filepath.Join(t.out, "dataloader.json")
	data, err := json.Marshal([]map[string]any{
		{"id": "pictures", "type": "local", "dataset_type": "image", "instance_data_dir": filepath.Join(t.source, "pictures"),
			"caption_strategy": "textfile", "resolution": 64, "resolution_type": "pixel"},
		{"id": "text", "type": "local", "dataset_type": "text_embeds", "default": true, "cache_dir": filepath.Join(t.out, "text")},
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(dataloader, data, 0o644); err != nil {
		return nil, err
	}
	return url.Values{
		"--model_family": {"pixart_sigma"}, "--model_type": {"full"}, "--pretrained_model_name_or_path": {t.model},
		"--output_dir": {filepath.Join(t.out, "outputs", name)}, "--data_backend_config": {dataloader}, "--train_batch_size": {"16"},
		"--mixed_precision": {"bf16"}, "--max_train_steps": {strconv.Itoa(steps)}, "--num_train_epochs": {"0"}, "--validation_disable": {"true"},
	}, nil
}
