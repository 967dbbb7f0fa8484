package main

import (
	"bufio"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/tokenize"
)

func tokenizeCommand() *cobra.Command {
	var dir string
	var longest int
	command := &cobra.Command{
		Use:   "tokenize --tokenizer DIR",
		Short: "what captions become: reads one a line, prints their token ids as JSON lines",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if longest < 1 {
				return usageError("--max %d leaves no room for a token; use 1 or more", longest)
			}
			tokenizer, err := tokenize.Load(dir)
			if err != nil {
				return usageError("%w", err)
			}
			lines := bufio.NewScanner(command.InOrStdin())
			lines.Buffer(nil, 1<<24)
			out := json.NewEncoder(command.OutOrStdout())
			for lines.Scan() {
				ids, length := tokenizer.Encode(lines.Text(), longest)
				if err := out.Encode(ids[:length]); err != nil {
					return fmt.Errorf("print token ids: %w", err)
				}
			}
			return lines.Err()
		},
	}
	command.Flags().StringVar(&dir, "tokenizer", "", "folder with tokenizer.json or spiece.model")
	command.Flags().IntVar(&longest, "max", 300, "longest result, tokens; longer captions are cut and keep their end token")
	_ = command.MarkFlagRequired("tokenizer")
	return command
}
