// Command latencies measures how soon a real stepd answers: from the start of the process to the first answer, from the
// grant of a step to that step, and for the status of a session while it trains. The model is the demo's.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

type options struct {
	program, source, out string
	starts, sessions     int
	steps                int
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/stepd", "the server")
	flag.StringVar(&o.source, "source", "examples/emoji", "folder with a model and pictures")
	flag.StringVar(&o.out, "out", "build/latencies", "folder for what is made; emptied first")
	flag.IntVar(&o.starts, "starts", 10, "starts of the server")
	flag.IntVar(&o.sessions, "sessions", 3, "sessions whose first step is timed")
	flag.IntVar(&o.steps, "steps", 60, "steps during which the status is asked for")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "latencies:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if err := trial.Workspace(&o.out, &o.program, &o.source); err != nil {
		return err
	}
	model := filepath.Join(o.out, "model")
	if err := trial.MakeModel(o.program, filepath.Join(o.source, "model"), model, nil); err != nil {
		return err
	}
	server := trial.Server{Program: o.program, Folder: filepath.Join(o.out, "data"), Log: filepath.Join(o.out, "server.log")}
	defer server.Kill()
	var ready []time.Duration
	for range o.starts {
		server.Kill()
		if err := server.Start(); err != nil {
			return err
		}
		ready = append(ready, server.Ready)
	}
	report("start of the process to the first answer", ready)
	resident, err := residentMemory(server.PID())
	if err != nil {
		return err
	}
	fmt.Printf("memory of the idle server: %s\n", resident)

	t := training{options: o, server: &server, model: model}
	var first []time.Duration
	for i := range o.sessions + 1 {
		took, err := t.firstStep(fmt.Sprintf("first-%d", i))
		if err != nil {
			return err
		}
		if i > 0 { // the first session fills the caches
			first = append(first, took)
		}
	}
	report("grant to the first step, warm caches", first)
	asked, err := t.statusWhileTraining(fmt.Sprintf("first-%d", o.sessions), o.steps)
	if err != nil {
		return err
	}
	report(fmt.Sprintf("GET /sessions/{id} during %d steps", o.steps), asked)
	return t.throughSimpleTuner()
}

// throughSimpleTuner measures the same through the other API.
func (t training) throughSimpleTuner() error {
	var first []time.Duration
	for i := range t.sessions + 1 {
		took, _, err := t.startTraining(fmt.Sprintf("training-%d", i), 1)
		if err != nil {
			return err
		}
		if i > 0 {
			first = append(first, took)
		}
	}
	report("POST /api/training/start to the first step, warm caches", first)
	_, asked, err := t.startTraining("training", t.steps)
	if err == nil {
		report(fmt.Sprintf("GET /api/training/status during %d steps", t.steps), asked)
	}
	return err
}

// report prints the middle and the end of a distribution.
func report(what string, times []time.Duration) {
	slices.Sort(times)
	at := func(share float64) time.Duration {
		return times[int(share*float64(len(times)-1)+0.5)].Round(10 * time.Microsecond)
	}
	fmt.Printf("%s: median %v, p99 %v, worst %v of %d\n", what, at(0.5), at(0.99), at(1), len(times))
}

func residentMemory(pid int) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(status)) {
		if value, found := strings.CutPrefix(line, "VmRSS:"); found {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("/proc/%d/status has no VmRSS", pid)
}

// training asks a server to train.
type training struct {
	options
	server *trial.Server
	model  string
}

type status struct {
	Status    string  `json:"status"`
	Completed int     `json:"completed_steps"`
	Error     *string `json:"error"`
}

// firstStep makes a session and measures the time from its first grant until its status counts a step.
func (t training) firstStep(id string) (time.Duration, error) {
	if err := t.server.Call("POST", "/sessions", map[string]any{"sessionId": id, "config": t.job(id)}, nil); err != nil {
		return 0, err
	}
	began := time.Now()
	granted := make(chan error, 1)
	go func() { granted <- t.server.Call("POST", "/sessions/"+id+"/steps", map[string]any{"steps": 1}, nil) }()
	for {
		var s status
		if err := t.server.Call("GET", "/sessions/"+id, nil, &s); err != nil {
			return 0, err
		}
		if s.Error != nil {
			return 0, fmt.Errorf("session %s is %q: %s", id, s.Status, *s.Error)
		}
		if s.Completed > 0 {
			return time.Since(began), <-granted
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// statusWhileTraining asks for the status of a session, again and again, until its steps are made.
func (t training) statusWhileTraining(id string, steps int) ([]time.Duration, error) {
	granted := make(chan error, 1)
	go func() {
		granted <- t.server.Call("POST", "/sessions/"+id+"/steps", map[string]any{"steps": steps}, nil)
	}()
	var times []time.Duration
	for {
		select {
		case err := <-granted:
			return times, err
		default:
		}
		began := time.Now()
		if err := t.server.Call("GET", "/sessions/"+id, nil, nil); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
		time.Sleep(5 * time.Millisecond)
	}
}

// job trains all weights in bf16 on small pictures.
func (t training) job(name string) map[string]any {
	process := map[string]any{
		"type": "sd_trainer", "training_folder": filepath.Join(t.out, "outputs"),
		"model":    map[string]any{"name_or_path": t.model, "arch": "pixart_sigma", "max_sequence_length": 32},
		"datasets": []any{map[string]any{"folder_path": filepath.Join(t.source, "pictures"), "resolution": 64}},
		"train":    map[string]any{"steps": 1000, "batch_size": 16, "dtype": "bf16", "lr": 1e-4, "optimizer": "adamw", "disable_sampling": true},
		"save":     map[string]any{"save_every": 1000},
	}
	return map[string]any{"job": "extension", "config": map[string]any{"name": name, "process": []any{process}}}
}
