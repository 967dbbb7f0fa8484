package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/cgo"
)

func benchCommand() *cobra.Command {
	var request cgo.BenchRequest
	var asJSON bool
	command := &cobra.Command{
		Use:   "bench [CASE…]",
		Short: "seconds per training step of fixed cases on random data",
		RunE: func(command *cobra.Command, args []string) error {
			if request.Cases = args; len(args) == 0 {
				request.Cases = []string{"pixart-demo", "pixart-block-real"}
			}
			rows, err := cgo.Bench(request)
			if err != nil {
				return err
			}
			for _, row := range rows {
				if asJSON {
					if err := json.NewEncoder(command.OutOrStdout()).Encode(row); err != nil {
						return err
					}
					continue
				}
				if err := printBench(command, row); err != nil {
					return err
				}
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	flags.IntVar(&request.Steps, "steps", 7, "timed steps")
	flags.IntVar(&request.Warmup, "warmup", 2, "steps before the clock starts")
	flags.BoolVar(&request.Profile, "profile", false, "also list the nodes that take the most time")
	return command
}

func printBench(command *cobra.Command, row json.RawMessage) error {
	var r struct {
		Name    string  `json:"name"`
		Variant string  `json:"variant"`
		Median  float64 `json:"sec_median"`
		Min     float64 `json:"sec_min"`
		TFLOPS  float64 `json:"tflops"`
		RSS     int64   `json:"peak_rss_mb"`
		First   float64 `json:"first_step_s"`
		Profile []struct {
			Node   string  `json:"node"` // op and shape of its result
			Count  int     `json:"count"`
			Milli  float64 `json:"ms"`
			GFLOPS float64 `json:"gflops"`
			GBPS   float64 `json:"gb_per_s"`
		} `json:"profile"`
	}
	if err := json.Unmarshal(row, &r); err != nil {
		return err
	}
	out := command.OutOrStdout()
	if _, err := fmt.Fprintf(out, "%-18s %-18s %8.4f s/step (best %.4f)  %.3f TFLOP/s  %d MB  first step %.2f s\n",
		r.Name, r.Variant, r.Median, r.Min, r.TFLOPS, r.RSS, r.First); err != nil {
		return err
	}
	for _, node := range r.Profile {
		if _, err := fmt.Fprintf(out, "  %-40s %4d x %9.2f ms in all %8.1f GFLOP/s %7.1f GB/s\n",
			node.Node, node.Count, node.Milli, node.GFLOPS, node.GBPS); err != nil {
			return err
		}
	}
	return nil
}
