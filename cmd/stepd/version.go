package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/cgo"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use:   "version",
		Short: "versions of program and core, instruction set, devices and families",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			core, err := native()
			if err != nil {
				return err
			}
			info := core.Info()
			if asJSON {
				return json.NewEncoder(command.OutOrStdout()).Encode(info)
			}
			_, err = fmt.Fprintf(command.OutOrStdout(), "stepd %s (core %s, %s, %s, %d threads)\ndevices  %s\nfamilies %s\n", info.Version,
				cgo.Library(), runtime.Version(), info.InstructionSet, info.Threads, strings.Join(info.Devices, " "), strings.Join(info.Families, " "))
			return err
		},
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return command
}
