// Command crash kills stepd and its workers with SIGKILL at random moments of real trainings, and checks that whatever the
// server had acknowledged stays true: checkpoints verify, events have no gap and do not change, no step is trained above
// the budget, and every run ends with the same state as an uninterrupted one, bit for bit. `make crash N=200` runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

func main() {
	program := flag.String("stepd", "bin/stepd", "the stepd program")
	source := flag.String("source", "examples/emoji", "pictures and model folder")
	out := flag.String("out", "build/crash", "folder for everything that is written; emptied first")
	kills := flag.Int("n", 200, "number of kills")
	seed := flag.Uint64("seed", 0, "seed of the moments; 0: a random one")
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	if err := crash(*program, *source, *out, *kills, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func crash(program, source, out string, kills int, seed uint64) error {
	if err := trial.Workspace(&out, &program, &source); err != nil {
		return err
	}
	p := plan{kills: kills, seed: seed, dir: out, model: filepath.Join(out, "model"), pictures: filepath.Join(source, "pictures"), resolution: 64,
		steps: 60, every: 5, keep: 3, longest: 1500 * time.Millisecond,
		report: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
		command: func(address string) *exec.Cmd {
			return exec.Command(program, "serve", "--listen", address, "--data", filepath.Join(out, "data"), "--config-dir", filepath.Join(out, "config"), "--no-auth")
		}}
	// A transformer so small that a step takes milliseconds: one layer with one head of 64.
	small := map[string]int{"num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 64, "cross_attention_dim": 64}
	if err := trial.MakeModel(program, filepath.Join(source, "model"), p.model, small); err != nil {
		return err
	}
	if err := p.writeDataloader(); err != nil {
		return err
	}
	fmt.Printf("seed %d\n", seed)
	began := time.Now()
	counts, err := attack(context.Background(), p)
	if err != nil {
		return err
	}
	fmt.Printf("%v in %.0f s (seed %d)\n", counts, time.Since(began).Seconds(), seed)
	return nil
}

// writeDataloader puts the description of the data set where SimpleTuner's clients look for it.
func (p plan) writeDataloader() error {
	folder := filepath.Join(p.dir, "config")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return trial.WriteDataloader(filepath.Join(folder, dataloaderName), p.pictures, filepath.Join(p.dir, "text"), p.resolution)
}
