package simpletuner

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

var update = flag.Bool("update", false, "write docs/options.md")

// docs/options.md is what the tables say.
func TestOptionsAreDocumented(t *testing.T) {
	path := filepath.Join("..", "..", "..", "docs", "options.md")
	text := document()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, text == string(written), "docs/options.md is not what the tables say: run go generate ./sessions/job/simpletuner")
}

func document() string {
	intro, err := os.ReadFile(filepath.Join("testdata", "options-intro.md"))
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	b.Write(intro)
	b.WriteString("\n## Models\n\n| family | flavour | model |\n|---|---|---|\n")
	for _, flavour := range sortedKeys(pixart.flavours) {
		name := flavour
		if flavour == pixart.flavour {
			name += " (default)"
		}
		fmt.Fprintf(&b, "| `pixart_sigma`, `pixart` | %s | %s |\n", name, pixart.flavours[flavour])
	}
	b.WriteString("\n# Options\n")
	tables(&b, rows)
	b.WriteString("\n# Fields of a dataset\n\nFields without a default take the option of the same name, where there is one.\n")
	tables(&b, fields)
	return b.String()
}

func tables(b *strings.Builder, table map[string]Row) {
	section := func(title, head string, support Support, line func(Row) string) {
		var lines []string
		for _, name := range sortedKeys(table) {
			if row := table[name]; row.Support == support {
				lines = append(lines, line(row))
			}
		}
		if len(lines) > 0 {
			columns := strings.Count(head, "|") - 1
			fmt.Fprintf(b, "\n## %s\n\n%s\n|%s\n%s", title, head, strings.Repeat("---|", columns), strings.Join(lines, ""))
		}
	}
	section("Implemented", "| name | type | default | values | meaning |", Implemented, func(r Row) string {
		return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", r.Name, r.Kind, shown(r.Default), allowed(r), r.Doc+condition(r.Name, table))
	})
	section("Refused", "| name | type | taken | what it asks for | instead |", Refused, func(r Row) string {
		var fine []string
		for _, value := range append([]any{r.Default}, r.Fine...) {
			if value != nil {
				fine = append(fine, shown(value))
			}
		}
		remedy := r.Remedy
		if remedy == "" {
			remedy = "leave it out"
		}
		return fmt.Sprintf("| `%s` | %s | %s | %s | %s |\n", r.Name, r.Kind, strings.Join(fine, ", "), r.Doc, remedy)
	})
	section("Not done, with a warning", "| name | type | what it asks for |", Unserved, func(r Row) string {
		return fmt.Sprintf("| `%s` | %s | %s |\n", r.Name, r.Kind, r.Doc)
	})
	section("Without effect, with a notice", "| name | type | why |", Hint, func(r Row) string {
		return fmt.Sprintf("| `%s` | %s | %s |\n", r.Name, r.Kind, r.Doc)
	})
}

// condition tells on which option another one depends.
func condition(name string, table map[string]Row) string {
	need, conditional := needs[name]
	if _, isOption := table[need.option]; !conditional || !isOption {
		return ""
	}
	return fmt.Sprintf("; with `%s=%s`", need.option, need.value)
}

func shown(value any) string {
	if value == nil {
		return ""
	}
	if value == "" {
		return "empty"
	}
	return fmt.Sprintf("`%v`", value)
}

func allowed(r Row) string {
	switch {
	case len(r.Choices) > 12:
		return "" // the meaning says which are taken
	case len(r.Choices) > 0:
		return strings.Join(r.Choices, ", ")
	case (r.Kind == job.Int || r.Kind == job.Float) && r.Min != r.Max:
		return plain(r.Min) + " to " + plain(r.Max)
	}
	return ""
}
