package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/checkpoint"
)

func doctorCommand() *cobra.Command {
	var repair bool
	command := &cobra.Command{
		Use:   "doctor RUN_FOLDER…",
		Short: "check every checkpoint of run folders by hash",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, folders []string) error {
			problems := 0
			for _, folder := range folders {
				found, err := examine(command, folder, repair)
				if err != nil {
					return err
				}
				problems += found
			}
			if problems > 0 && !repair {
				return &exitError{exitFailed, fmt.Errorf("%d problems; run it again with --repair", problems)}
			}
			return nil
		},
	}
	command.Flags().BoolVar(&repair, "repair", false, "move broken checkpoints to quarantine, remove unfinished ones, link published files again")
	return command
}

// isRunFolder keeps the check from leaving a lock in folders that have nothing to do with a run.
func isRunFolder(folder string) bool {
	for _, pattern := range []string{".lock", "checkpoint-*"} {
		if found, err := filepath.Glob(filepath.Join(folder, pattern)); err == nil && len(found) > 0 {
			return true
		}
	}
	return false
}

// examine checks one run folder, which no run may use meanwhile, and returns the number of problems.
func examine(command *cobra.Command, folder string, repair bool) (int, error) {
	if !isRunFolder(folder) {
		return 0, usageError("doctor %s: this is not a run folder; name the folder that holds checkpoint-… folders", folder)
	}
	unlock, err := checkpoint.Lock(command.Context(), folder)
	if err != nil {
		return 0, fmt.Errorf("doctor %s: %w", folder, err)
	}
	defer unlock()
	good, findings, err := checkpoint.Fsck(folder, repair)
	if err != nil {
		return 0, fmt.Errorf("doctor %s: %w", folder, err)
	}
	out := command.OutOrStdout()
	for _, info := range good {
		if _, err := fmt.Fprintf(out, "ok       %s, step %d\n", info.Path, info.Manifest.Step); err != nil {
			return 0, err
		}
	}
	for _, finding := range findings {
		verb := "would be"
		if repair {
			verb = "was"
		}
		if _, err := fmt.Fprintf(out, "problem  %s: %s; %s %s\n", finding.Path, finding.Problem, verb, finding.Repair); err != nil {
			return 0, err
		}
	}
	return len(findings), nil
}
