// Command stepd trains diffusion transformers: as a server with HTTP APIs, or from the command line.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/engine"
)

// Exit codes of every command; scripts rely on them.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // wrong usage, or a job that cannot run
	exitStopped = 3 // stopped on request, with a checkpoint
)

// exitError carries the exit code of an error; an empty message prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// commands is every subcommand; a new one is a file and a line here.
var commands = []func() *cobra.Command{
	serveCommand, trainCommand, sampleCommand, planCommand, benchCommand, initModelCommand, tokenizeCommand, doctorCommand,
	workerCommand, versionCommand,
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	root := &cobra.Command{
		Use:           "stepd",
		Short:         "a training server for diffusion transformers",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitUsage, err} })
	for _, command := range commands {
		root.AddCommand(command())
	}
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitDone
	}
	if err.Error() != "" {
		fmt.Fprintln(os.Stderr, "stepd:", err)
	}
	var known *exitError
	var refused *engine.Error
	switch {
	case errors.As(err, &known):
		return known.code
	case isUsage(err), errors.As(err, &refused) && cannotRun(refused.Code):
		return exitUsage
	}
	return exitFailed
}

// cannotRun tells whether an error of the engine is about what it was asked to do.
func cannotRun(code engine.Code) bool {
	return code == engine.Invalid || code == engine.NotFound || code == engine.Unsupported
}

// isUsage recognises cobra's own complaints about commands and arguments, which have no type.
func isUsage(err error) bool {
	message := err.Error()
	for _, prefix := range []string{"unknown command", "accepts ", "requires at least", "required flag"} {
		if len(message) >= len(prefix) && message[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}
