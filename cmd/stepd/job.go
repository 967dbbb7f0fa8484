package main

import (
	"errors"
	"path/filepath"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
)

// readJob reads a job file of any dialect. Relative folders in it start at the working directory, as in the original tools.
func readJob(path string, maxSteps int64, output string) (*job.Job, error) {
	document, err := aitoolkit.ReadFile(path)
	if err != nil {
		return nil, usageError("%w", err)
	}
	if !aitoolkit.IsJob(document) {
		return nil, usageError("%s is not a job: config.process is missing", path)
	}
	var limit *int64
	if maxSteps > 0 {
		limit = &maxSteps
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return nil, err
	}
	j, err := aitoolkit.Translate(document, limit, aitoolkit.Roots{Models: here, Datasets: here, Outputs: here})
	if err != nil {
		var invalid *job.Invalid
		if errors.As(err, &invalid) {
			return nil, &exitError{exitUsage, err}
		}
		return nil, err
	}
	if output != "" {
		if j.Output, err = filepath.Abs(output); err != nil {
			return nil, usageError("%w", err)
		}
	}
	return j, nil
}
