package main

import (
	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/worker"
)

func workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "train one session; started by serve",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			core, err := native()
			if err != nil {
				return err
			}
			if code := worker.Main(core); code != exitDone {
				return &exitError{code: code}
			}
			return nil
		},
	}
}
