package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
	"github.com/stepd/stepd/sessions/worker"
)

type trainOptions struct {
	file   jobFile
	data   string
	asJSON bool
}

func trainCommand() *cobra.Command {
	var o trainOptions
	command := &cobra.Command{
		Use:   "train JOB",
		Short: "train a job file, an AI-Toolkit job or a SimpleTuner configuration; an unfinished run goes on from its last checkpoint",
		Args:  jobArgument,
		RunE: func(command *cobra.Command, args []string) error {
			o.file.path = args[0]
			return train(command.OutOrStdout(), o)
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.file.dataBackend, "data-backend", "", "dataloader file of a SimpleTuner configuration; empty: the one that it names")
	flags.StringVar(&o.file.output, "output", "", "folder for the run folder; empty: the job's")
	flags.StringVar(&o.data, "data", "data", "folder for the caches")
	flags.Int64Var(&o.file.maxSteps, "max-steps", 0, "stop after this many steps; 0: the job's length")
	flags.BoolVar(&o.asJSON, "json", false, "print one JSON object a line and nothing else")
	return command
}

func train(out io.Writer, o trainOptions) error {
	j, document, err := o.file.read()
	if err != nil {
		return err
	}
	core, err := native()
	if err != nil {
		return err
	}
	// The index of a run from the command line lives beside its files, so that a server's index stays its own.
	data, err := filepath.Abs(o.data)
	if err != nil {
		return usageError("%w", err)
	}
	index := filepath.Join(j.RunDir(), ".stepd")
	if err := os.MkdirAll(index, 0o755); err != nil {
		return fmt.Errorf("create run folder: %w; choose another one with --output", err)
	}
	if document != nil {
		if err := aitoolkit.WriteConfig(j.RunDir(), document); err != nil {
			return err
		}
	}
	manager, err := sessions.Open(context.Background(), sessions.Options{DataDir: index, CacheDir: filepath.Join(data, "cache"),
		Launcher: worker.Local{Engine: core}})
	if err != nil {
		return err
	}
	defer func() { _ = manager.Close(context.Background()) }()
	return follow(out, manager, j, o)
}

// follow runs the job's session to its end and shows its events.
func follow(out io.Writer, manager *sessions.Manager, j *job.Job, o trainOptions) error {
	ctx, stop := untilSignal(context.Background())
	defer stop()
	for _, old := range manager.Sessions() { // of an earlier call of this command
		if err := manager.Delete(ctx, old.ID()); err != nil {
			return err
		}
	}
	session, err := manager.Create(ctx, sessions.CreateRequest{ID: j.Name, Job: j, Grant: j.End()})
	if err != nil {
		var invalid *job.Invalid
		if errors.As(err, &invalid) {
			return &exitError{exitUsage, err}
		}
		return err
	}
	show := newDisplay(out, j, o.asJSON)
	defer show.close()
	go func() {
		<-ctx.Done()
		_ = session.Abort(context.Background())
	}()
	feed := session.Subscribe(0)
	for {
		events, err := feed.Next(context.Background())
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("session %q ended without a final state", j.Name)
		}
		if err != nil {
			return err
		}
		for _, event := range events {
			if done, err := show.event(event); done {
				return err
			}
		}
	}
}
