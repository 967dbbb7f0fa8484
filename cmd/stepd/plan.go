package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/engine"
	runs "github.com/stepd/stepd/sessions/run"
)

func planCommand() *cobra.Command {
	var asJSON bool
	var file jobFile
	command := &cobra.Command{
		Use:   "plan JOB",
		Short: "memory and work of a job, without training it",
		Args:  jobArgument,
		RunE: func(command *cobra.Command, args []string) error {
			file.path = args[0]
			j, _, err := file.read()
			if err != nil {
				return err
			}
			core, err := native()
			if err != nil {
				return err
			}
			plan, err := runs.Plan(command.Context(), core, j)
			if err != nil {
				return err
			}
			for _, warning := range j.Warnings {
				_, _ = fmt.Fprintln(command.ErrOrStderr(), "warning:", warning)
			}
			if asJSON {
				return json.NewEncoder(command.OutOrStdout()).Encode(plan)
			}
			return printPlan(command.OutOrStdout(), plan)
		},
	}
	command.Flags().StringVar(&file.dataBackend, "data-backend", "", "dataloader file of a SimpleTuner configuration; empty: the one that it names")
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}

func printPlan(out io.Writer, p engine.Plan) error {
	for _, line := range []struct {
		name  string
		bytes int64
	}{
		{"weights", p.Weights}, {"gradients", p.Gradients}, {"optimizer", p.Optimizer}, {"moving average", p.EMA}, {"activations", p.Activations},
		{"workspace", p.Workspace}, {"encoders (while caches fill)", p.Encoders}, {"peak", p.Total}, {"available", p.Available},
	} {
		if _, err := fmt.Fprintf(out, "%-30s %12s\n", line.name, humanize.IBytes(uint64(max(line.bytes, 0)))); err != nil {
			return err
		}
	}
	verdict := "fits"
	if !p.Fits {
		verdict = "does not fit"
	}
	_, err := fmt.Fprintf(out, "%s parameters trained of %s; %.1f GFLOP a step; %d nodes computed twice; %s\n",
		humanize.Comma(p.Trainable), humanize.Comma(p.Parameters), p.FLOP/1e9, p.Recomputed, verdict)
	return err
}
