package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/engine"
)

func initModelCommand() *cobra.Command {
	var request engine.InitModel
	command := &cobra.Command{
		Use:   "init-model FAMILY --config FILE --out DIR",
		Short: "random weights for a new model, in the layout of a diffusers folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			request.Family = args[0]
			for _, path := range []*string{&request.Config, &request.Out} {
				absolute, err := filepath.Abs(*path)
				if err != nil {
					return usageError("%w", err)
				}
				*path = absolute
			}
			core, err := native()
			if err != nil {
				return err
			}
			if err := core.InitModel(request); err != nil {
				return fmt.Errorf("init-model: %w", err)
			}
			_, err = fmt.Fprintln(command.OutOrStdout(), request.Out)
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&request.Config, "config", "", "config.json of the component")
	flags.StringVar(&request.Component, "component", "transformer", "transformer, text_encoder or vae")
	flags.StringVar(&request.Out, "out", "", "folder that receives config.json and the weights")
	flags.Uint64Var(&request.Seed, "seed", 0, "seed of the random weights")
	flags.StringVar(&request.DType, "dtype", "fp32", "fp32 or bf16")
	_ = command.MarkFlagRequired("config")
	_ = command.MarkFlagRequired("out")
	return command
}
