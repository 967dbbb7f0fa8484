package main

import (
	"errors"
	"path/filepath"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
)

// readJob reads a job file of any dialect; document is the file as it was parsed. Relative folders in it start at the working directory, as in the original tools.
func readJob(path string, maxSteps int64, output string) (j *job.Job, document map[string]any, err error) {
	document, err = aitoolkit.ReadFile(path)
	if err != nil {
		return nil, nil, usageError("%w", err)
	}
	if !aitoolkit.IsJob(document) {
		return nil, nil, usageError("%s is not a job: config.process is missing", path)
	}
	if maxSteps < 0 {
		return nil, nil, usageError("--max-steps %d is negative; leave it out to train the job's steps", maxSteps)
	}
	var limit *int64
	if maxSteps > 0 {
		limit = &maxSteps
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return nil, nil, err
	}
	j, err = aitoolkit.Translate(document, limit, aitoolkit.Roots{Models: here, Datasets: here, Outputs: here})
	if err == nil {
		err = aitoolkit.CheckFolders(j)
	}
	if err != nil {
		var invalid *job.Invalid
		if errors.As(err, &invalid) {
			return nil, nil, &exitError{exitUsage, err}
		}
		return nil, nil, err
	}
	if output != "" {
		if j.Output, err = filepath.Abs(output); err != nil {
			return nil, nil, usageError("%w", err)
		}
	}
	return j, document, nil
}
