package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/checkpoint"
)

type doctorOptions struct {
	data    string
	outputs []string
	repair  bool
}

func doctorCommand() *cobra.Command {
	var o doctorOptions
	command := &cobra.Command{
		Use:   "doctor [--data DIR [--outputs DIR]…] [RUN_FOLDER…]",
		Short: "check the index of sessions, and every checkpoint by hash",
		Long: "Checks the index of a data folder and the run folders that it knows, or single run folders. With --repair, a broken index is\n" +
			"put aside and made again from the run folders below --outputs, broken checkpoints go to quarantine, unfinished ones are removed,\n" +
			"and published files are linked again. No server may be running on the folders.",
		RunE: func(command *cobra.Command, folders []string) error {
			findings, err := o.examine(command, folders)
			for _, finding := range findings {
				if err := o.report(command, finding); err != nil {
					return err
				}
			}
			if err != nil {
				return err
			}
			if len(findings) > 0 && !o.repair {
				return &exitError{exitFailed, fmt.Errorf("problems found: %d; run it again with --repair", len(findings))}
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.data, "data", "", "data folder whose index to check, with all run folders that it knows")
	flags.StringArrayVar(&o.outputs, "outputs", nil, "folder of run folders, of which those that the index does not know are added; repeat for several")
	flags.BoolVar(&o.repair, "repair", false, "repair what is found")
	return command
}

func (o *doctorOptions) report(command *cobra.Command, finding checkpoint.Finding) error {
	verb := "would be"
	if o.repair {
		verb = "was"
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), "problem  %s: %s; %s %s\n", finding.Path, finding.Problem, verb, finding.Repair)
	return err
}

func (o *doctorOptions) examine(command *cobra.Command, folders []string) (findings []checkpoint.Finding, err error) {
	if o.data == "" && len(o.outputs) > 0 {
		return nil, usageError("doctor: --outputs needs the --data folder whose index the runs belong to")
	}
	if o.data == "" && len(folders) == 0 {
		return nil, usageError("doctor: name a data folder with --data, or run folders")
	}
	for _, folder := range folders {
		found, err := o.runFolder(command, folder)
		findings = append(findings, found...)
		if err != nil {
			return findings, err
		}
	}
	if o.data == "" {
		return findings, nil
	}
	if _, err := os.Stat(o.data); errors.Is(err, fs.ErrNotExist) && (!o.repair || len(o.outputs) == 0) {
		return findings, usageError("doctor: there is no data folder %s; to make an index of existing runs there, add --repair and --outputs", o.data)
	}
	found, err := sessions.Doctor(command.Context(), sessions.DoctorOptions{DataDir: o.data, Outputs: o.outputs, Repair: o.repair})
	return append(findings, found...), err
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

// runFolder checks one run folder, which no run may use meanwhile.
func (o *doctorOptions) runFolder(command *cobra.Command, folder string) ([]checkpoint.Finding, error) {
	if !isRunFolder(folder) {
		return nil, usageError("doctor %s: this is not a run folder; name the folder that holds checkpoint-… folders", folder)
	}
	unlock, err := checkpoint.Lock(command.Context(), folder, func() { fmt.Fprintf(os.Stderr, "waiting for the process that uses %s\n", folder) })
	if err != nil {
		return nil, fmt.Errorf("doctor %s: %w", folder, err)
	}
	defer unlock()
	good, findings, err := checkpoint.Fsck(folder, o.repair)
	if err != nil {
		return findings, fmt.Errorf("doctor %s: %w", folder, err)
	}
	for _, info := range good {
		if _, err := fmt.Fprintf(command.OutOrStdout(), "ok       %s, step %d\n", info.Path, info.Manifest.Step); err != nil {
			return findings, err
		}
	}
	return findings, nil
}
