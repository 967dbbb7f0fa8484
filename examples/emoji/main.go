// Command emoji is the demo of stepd: it trains a small diffusion transformer on sixteen emoji, by step grants over HTTP to
// a real server, kills that server in the middle, and goes on from the last checkpoint. `make demo` runs it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

// Steps of the demo: granted in portions, with a kill in the third.
const (
	portion   = 100
	killAt    = 240 // the server is killed when this step is trained; the last checkpoint is then step 200
	lastStep  = 350
	everyStep = 50 // steps between rows of the contact sheet
)

func main() {
	program := flag.String("stepd", "bin/stepd", "the stepd program")
	source := flag.String("source", "examples/emoji", "pictures and model folder")
	out := flag.String("out", "build/demo", "folder for everything that the demo writes; emptied first")
	flag.Parse()
	if err := run(*program, *source, *out); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(program, source, out string) error {
	began := time.Now()
	d, err := prepare(program, source, out)
	if err != nil {
		return err
	}
	defer d.server.Kill()
	if err := d.train(); err != nil {
		return fmt.Errorf("%w\nthe server's log is in %s", err, d.server.Log)
	}
	if err := d.finish(time.Since(began)); err != nil {
		return err
	}
	return d.server.Stop()
}

// demo is one run of the demo.
type demo struct {
	source, out string
	captions    []string // in the order of the pictures' names
	pictures    []string
	server      *trial.Server
	events      *events
}

func prepare(program, source, out string) (*demo, error) {
	if err := trial.Workspace(&out, &program, &source); err != nil {
		return nil, err
	}
	d := &demo{source: source, out: out, server: &trial.Server{Program: program, Folder: filepath.Join(out, "data"), Log: filepath.Join(out, "server.log")}}
	if err := d.readPictures(); err != nil {
		return nil, err
	}
	fmt.Println("making a transformer with random weights")
	return d, trial.MakeModel(program, filepath.Join(source, "model"), filepath.Join(out, "model"), nil)
}

func (d *demo) readPictures() error {
	pictures, err := filepath.Glob(filepath.Join(d.source, "pictures", "*.png"))
	if err != nil || len(pictures) == 0 {
		return fmt.Errorf("no pictures in %s", filepath.Join(d.source, "pictures"))
	}
	sort.Strings(pictures)
	for _, picture := range pictures {
		caption, err := os.ReadFile(picture[:len(picture)-len(".png")] + ".txt")
		if err != nil {
			return err
		}
		d.pictures, d.captions = append(d.pictures, picture), append(d.captions, string(caption))
	}
	return nil
}

// train is the demo itself.
func (d *demo) train() error {
	if err := d.server.Start(); err != nil {
		return err
	}
	fmt.Printf("stepd serves http://%s, ready after %d ms\n", d.server.Address, d.server.Ready.Milliseconds())
	if err := d.server.Call("POST", "/sessions", d.job(), nil); err != nil {
		return err
	}
	d.events = follow(d.server, d.out)
	for step := portion; step < killAt; step += portion {
		if err := d.grant(portion); err != nil {
			return err
		}
	}
	go func() { _ = d.grant(portion) }() // ends with the server
	if err := d.events.waitForStep(killAt); err != nil {
		return err
	}
	d.server.Kill()
	fmt.Printf("\nkilled the server (SIGKILL) at step %d; starting it again\n", d.events.step())
	if err := d.server.Start(); err != nil {
		return err
	}
	var status struct {
		Status    string `json:"status"`
		Completed int    `json:"completed_steps"`
	}
	if err := d.waitUntilResumable(&status.Status, &status.Completed); err != nil {
		return err
	}
	fmt.Printf("session is %q and goes on from the checkpoint of step %d\n", status.Status, status.Completed)
	d.events.reconnect()
	if err := d.grant(lastStep - status.Completed); err != nil {
		return err
	}
	return d.events.waitForSamples(lastStep, len(d.captions))
}

// waitUntilResumable waits until the worker of the killed server has written its last checkpoint and ended.
func (d *demo) waitUntilResumable(status *string, completed *int) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var reply struct {
			Status    string `json:"status"`
			Completed int    `json:"completed_steps"`
		}
		if err := d.server.Call("GET", "/sessions/emoji", nil, &reply); err != nil {
			return err
		}
		if *status, *completed = reply.Status, reply.Completed; reply.Status == "interrupted" || reply.Status == "paused" {
			return nil
		}
	}
	return fmt.Errorf("the session is still %q a minute after the server was started again", *status)
}

func (d *demo) grant(steps int) error {
	var reply struct {
		Result struct {
			Granted  int  `json:"granted"`
			Consumed bool `json:"consumed"`
		} `json:"result"`
		Status struct {
			Status string  `json:"status"`
			Error  *string `json:"error"`
		} `json:"status"`
	}
	if err := d.server.Call("POST", "/sessions/emoji/steps", map[string]any{"steps": steps}, &reply); err != nil {
		return err
	}
	if !reply.Result.Consumed || reply.Status.Error != nil {
		reason := "no reason given"
		if reply.Status.Error != nil {
			reason = *reply.Status.Error
		}
		return fmt.Errorf("%d steps were granted but not trained; the session is %q: %s", steps, reply.Status.Status, reason)
	}
	return nil
}

// job is the body of POST /sessions: flow matching (the model folder's scheduler says so), all weights trained in bf16.
func (d *demo) job() map[string]any {
	process := map[string]any{
		"type": "sd_trainer", "training_folder": filepath.Join(d.out, "outputs"), "training_seed": 7,
		"model":    map[string]any{"name_or_path": filepath.Join(d.out, "model"), "arch": "pixart_sigma", "max_sequence_length": 32},
		"datasets": []any{map[string]any{"folder_path": filepath.Join(d.source, "pictures"), "resolution": 64, "num_repeats": 2, "caption_dropout_rate": 0.1}},
		"train": map[string]any{
			"steps": 600, "batch_size": 32, "dtype": "bf16", "lr": 1.5e-3, "optimizer": "adamw",
			"optimizer_params": map[string]any{"betas": []any{0.9, 0.98}, "eps": 1e-8, "weight_decay": 0},
			"lr_scheduler":     "cosine", "lr_scheduler_params": map[string]any{"num_warmup_steps": 20},
			"max_grad_norm": 1.0, "timestep_type": "sigmoid", "timestep_stratified": true, "skip_first_sample": true, "gradient_checkpointing": false,
		},
		"save": map[string]any{"save_every": 1000, "max_step_saves_to_keep": 3, "dtype": "bf16"},
		"sample": map[string]any{
			"sampler": "flowmatch", "sample_every": everyStep, "width": 64, "height": 64, "prompts": d.captions,
			"seed": 1000, "walk_seed": true, "guidance_scale": 2, "sample_steps": 14,
		},
	}
	return map[string]any{
		"sessionId": "emoji",
		"config":    map[string]any{"job": "extension", "config": map[string]any{"name": "emoji", "process": []any{process}}},
	}
}
