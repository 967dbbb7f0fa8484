package main

import (
	"regexp"
	"strings"
)

// block is one piece of shell of the tutorial.
type block struct {
	section string // heading of the second level above it
	heading string // nearest heading above it
	line    int    // in the document
	script  string
}

// document is what is run of the tutorial.
type document struct {
	blocks    []block
	endpoints []endpoint
}

// endpoint is one line of the list at the tutorial's end.
type endpoint struct{ method, path string }

var endpointLine = regexp.MustCompile("^- `(GET|POST) ([^`]+)`")

// parse finds the blocks of shell, also those indented in lists, and the list of endpoints.
func parse(text string) document {
	var d document
	var section, heading, indent string
	var script []string
	first := 0
	for i, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimSpace(line)
		switch {
		case first > 0 && trimmed == "```":
			d.blocks = append(d.blocks, block{section, heading, first, strings.Join(script, "\n") + "\n"})
			first, script = 0, nil
		case first > 0:
			script = append(script, strings.TrimPrefix(line, indent))
		case trimmed == "```bash":
			first, indent = i+2, line[:strings.Index(line, "`")]
		case strings.HasPrefix(line, "## "):
			section, heading = strings.TrimPrefix(line, "## "), strings.TrimPrefix(line, "## ")
		case strings.HasPrefix(line, "### "):
			heading = strings.TrimPrefix(line, "### ")
		default:
			if found := endpointLine.FindStringSubmatch(line); found != nil {
				d.endpoints = append(d.endpoints, endpoint{found[1], found[2]})
			}
		}
	}
	return d
}

// field is an option in a printed command.
var field = regexp.MustCompile(`(?m)^\s*-F (--[a-z_]+)=(.*?)( \\)?$`)

// elision is what stands for fields that the text leaves out.
var elision = regexp.MustCompile(`(?m)^\s*(\.\.\. \\|…other fields…)$`)

// fill puts the fields of a complete command into one that leaves them out, but those that it has itself.
func fill(script, complete string) string {
	place := elision.FindStringIndex(script)
	if place == nil {
		return script
	}
	var fields []string
	for _, found := range field.FindAllStringSubmatch(complete, -1) {
		if !strings.Contains(script, found[1]+"=") {
			fields = append(fields, "  -F "+found[1]+"="+found[2])
		}
	}
	filled := strings.Join(fields, " \\\n")
	if strings.HasSuffix(script[place[0]:place[1]], `\`) {
		filled += ` \`
	}
	return script[:place[0]] + filled + script[place[1]:]
}
