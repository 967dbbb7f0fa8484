package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
	"github.com/stepd/stepd/sessions/job/simpletuner"
	"github.com/stepd/stepd/sessions/script"
)

// jobFile is a job on the command line, of any dialect: an AI-Toolkit job or a SimpleTuner configuration.
type jobFile struct {
	path string
	// dataBackend is a SimpleTuner dataloader file in place of the configuration's; empty: that one.
	dataBackend string
	// output is the folder for the run folder; empty: the job's.
	output   string
	maxSteps int64 // 0: the job's length
}

// jobArgument is the check of a command whose one argument is a job file.
func jobArgument(command *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	return usageError("%s takes one JOB, the path of an AI-Toolkit job (YAML or JSON) or of a SimpleTuner configuration (config.json), and was given %d",
		command.CommandPath(), len(args))
}

// read translates the file; document is an AI-Toolkit job as it was parsed, nil for others. Relative folders in a job start
// at the working directory, as in the original tools.
func (f jobFile) read() (j *job.Job, document map[string]any, err error) {
	if document, err = aitoolkit.ReadFile(f.path); err != nil {
		return nil, nil, usageError("%w", err)
	}
	if f.maxSteps < 0 {
		return nil, nil, usageError("--max-steps %d is negative; leave it out to train the job's steps", f.maxSteps)
	}
	var limit *int64
	if f.maxSteps > 0 {
		limit = &f.maxSteps
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return nil, nil, err
	}
	switch {
	case aitoolkit.IsJob(document):
		j, err = f.readAIToolkit(document, limit, here)
	case simpletuner.IsConfig(document):
		j, err = f.readSimpleTuner(document, here)
		document = nil
	default:
		return nil, nil, usageError("%s is not a job: config.process is missing, as is model_family of a SimpleTuner configuration", f.path)
	}
	if err != nil {
		var invalid *job.Invalid
		if errors.As(err, &invalid) {
			return nil, nil, &exitError{exitUsage, err}
		}
		return nil, nil, err
	}
	j.MaxSteps = limit
	if f.output != "" {
		if j.Output, err = filepath.Abs(f.output); err != nil {
			return nil, nil, usageError("%w", err)
		}
	}
	return j, document, nil
}

func (f jobFile) readAIToolkit(document map[string]any, limit *int64, here string) (*job.Job, error) {
	if f.dataBackend != "" {
		return nil, usageError("--data-backend is for SimpleTuner configurations, and %s is an AI-Toolkit job; leave it out", f.path)
	}
	j, err := aitoolkit.Translate(document, limit, aitoolkit.Roots{Models: here, Datasets: here, Outputs: here})
	if err != nil {
		return nil, err
	}
	return j, aitoolkit.CheckFolders(j)
}

// readSimpleTuner lets the configuration start any script: whoever calls the program could start it as well.
func (f jobFile) readSimpleTuner(document map[string]any, here string) (*job.Job, error) {
	core, err := native()
	if err != nil {
		return nil, err
	}
	allow, err := script.ParseAllow(nil, true)
	if err != nil {
		return nil, err
	}
	options := simpletuner.Fold(document)
	if f.dataBackend != "" {
		path, err := filepath.Abs(f.dataBackend)
		if err != nil {
			return nil, usageError("%w", err)
		}
		options = options.Merge(simpletuner.Options{"data_backend_config": path})
	}
	translation, err := simpletuner.Translate(simpletuner.Request{Options: options, Script: allow.Resolve, Prober: core,
		Roots: simpletuner.Roots{Models: here, Datasets: here, Outputs: here, Configs: filepath.Dir(f.path)}})
	if err != nil {
		return nil, err
	}
	j := translation.Job
	if count := len(translation.Webhooks); count > 0 {
		j.Warnings = append(j.Warnings, fmt.Sprintf("%d webhooks are not called: that is done by stepd serve only", count))
	}
	return j, nil
}
