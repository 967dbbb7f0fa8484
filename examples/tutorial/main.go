// Command tutorial runs the commands that SimpleTuner's API tutorial prints, with real curl and jq against a real stepd,
// and compares every reply with what the text says. Only hosts and paths are replaced, and what the text leaves out as
// "…other fields…" is filled in from its first example. `make tutorial TUTORIAL=FILE` runs it.
//
// The model is small, so that 1800 steps take minutes; everything else is as printed, up to the end of the PixArt example.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

func main() {
	document := flag.String("document", "", "the tutorial, a Markdown file")
	program := flag.String("stepd", "bin/stepd", "the stepd program")
	source := flag.String("source", "examples/emoji", "pictures and model folder to make a model of")
	out := flag.String("out", "build/tutorial", "folder for everything that is written; emptied first")
	flag.Parse()
	if err := run(*document, *program, *source, *out); err != nil {
		fmt.Fprintln(os.Stderr, "\ntutorial:", err)
		os.Exit(1)
	}
}

func run(document, program, source, out string) error {
	began := time.Now()
	text, err := os.ReadFile(document)
	if err != nil {
		return fmt.Errorf("read the tutorial: %w; name it with -document, or make tutorial TUTORIAL=FILE", err)
	}
	w, err := newWorkspace(program, source, out)
	if err != nil {
		return err
	}
	receiver, err := listen()
	if err != nil {
		return err
	}
	defer receiver.close()
	s := &trial.Server{Program: w.program, Folder: "stepd", Log: filepath.Join(w.dir, "server.log"), Dir: w.dir,
		Arguments: []string{"--config-dir", "config", "--models", "models", "--allow-webhook", receiver.address}}
	if err := s.Start(); err != nil {
		return err
	}
	defer s.Kill()
	r := &runner{workspace: w, server: s, receiver: receiver}
	if err := r.run(parse(string(text))); err != nil {
		return fmt.Errorf("%w\nthe server's log is in %s", err, s.Log)
	}
	fmt.Printf("the tutorial works as printed: %d blocks and %d endpoints in %.0f s\n", r.blocks, r.endpoints, time.Since(began).Seconds())
	return s.Stop()
}
