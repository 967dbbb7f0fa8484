package simpletuner

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// scheduled translates a form with these datasets, all of the same five pictures.
func scheduled(t *testing.T, roots Roots, options map[string]string, entries ...map[string]any) (*Translation, error) {
	t.Helper()
	for _, entry := range entries {
		entry["caption_strategy"] = "textfile"
	}
	_, err := several(t, roots, nil, entries...)
	require.NotNil(t, entries[0]["id"], "several names the entries: %v", err)
	form := fastPath()
	form["--data_backend_config"] = []string{"several.json"}
	for name, value := range options {
		form["--"+name] = []string{value}
	}
	parsed, _ := FromForm(form)
	return Translate(Request{Options: parsed, Roots: roots, Prober: sizes{}})
}

func TestSchedules(t *testing.T) {
	roots := makeRoots(t)
	makePictures(t, filepath.Join(roots.Datasets, "demo")) // five micro-batches in an epoch of one dataset
	epochs := func(n string) map[string]string {
		return map[string]string{"num_train_epochs": n, "max_train_steps": "0"}
	}
	steps := func(n string) map[string]string { return map[string]string{"max_train_steps": n} }
	for _, test := range []struct {
		name    string
		options map[string]string
		first   map[string]any
		second  map[string]any
		steps   int64
		warning string
		problem string
	}{
		{name: "steps", options: steps("20"), first: map[string]any{"end_step": 8}, second: map[string]any{"start_step": 9}, steps: 20},
		{name: "steps overlap", options: steps("20"), first: map[string]any{"end_step": 8}, second: map[string]any{"start_step": 4}, steps: 20},
		{name: "steps with a gap", options: steps("20"), first: map[string]any{"end_step": 8}, second: map[string]any{"start_step": 12},
			problem: "dataset d0: end_step: no dataset takes part in step 9 (d0 has end_step 8, d1 has start_step 12)"},
		{name: "the gap is never reached", options: steps("8"), first: map[string]any{"end_step": 8}, second: map[string]any{"start_step": 12}, steps: 8,
			warning: "dataset d1: start_step 12 is after the last step 8; the dataset takes no part"},
		{name: "epochs", options: steps("30"), first: map[string]any{"end_epoch": 2}, second: map[string]any{"start_epoch": 3}, steps: 30},
		{name: "epochs with a gap", options: steps("30"), first: map[string]any{"end_epoch": 2}, second: map[string]any{"start_epoch": 4},
			problem: "dataset d0: end_epoch: no dataset takes part in step 11, in epoch 3 (d0 has end_epoch 2, d1 has start_epoch 4)"},
		{name: "the gap of epochs is never reached", options: steps("10"), first: map[string]any{"end_epoch": 2}, second: map[string]any{"start_epoch": 4}, steps: 10,
			warning: "dataset d1: start_epoch 4 is after the last epoch 2"},
		{name: "the second epoch has both", options: epochs("3"), second: map[string]any{"start_epoch": 2}, steps: 5 + 10 + 10},
		{name: "whole epochs to the end of the data", options: epochs("3"), first: map[string]any{"end_epoch": 2}, second: map[string]any{"start_epoch": 2, "end_epoch": 3}, steps: 5 + 10 + 5},
		{name: "an epoch too many", options: epochs("4"), first: map[string]any{"end_epoch": 2}, second: map[string]any{"start_epoch": 2, "end_epoch": 3},
			problem: "dataset d1: end_epoch: no dataset takes part in step 21, in epoch 4"},
		{name: "nothing at the beginning", options: steps("5"), first: map[string]any{"start_epoch": 2}, second: map[string]any{"start_step": 2},
			problem: "dataset d0: start_epoch: no dataset takes part in step 1, in epoch 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			entries := []map[string]any{test.first, test.second}
			for i := range entries {
				if entries[i] == nil {
					entries[i] = map[string]any{}
				}
			}
			got, err := scheduled(t, roots, test.options, entries...)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.steps, got.Job.Steps)
			require.Equal(t, job.MixShare, got.Job.Mixing, "datasets that come or leave are not shuffled together")
			require.Contains(t, strings.Join(got.Warnings, "\n"), test.warning)
		})
	}
}

// The last step of a run of whole epochs may not need data that are not there.
func TestTheLastStepStaysWithinTheData(t *testing.T) {
	roots := makeRoots(t)
	makePictures(t, filepath.Join(roots.Datasets, "demo"))
	got, err := scheduled(t, roots, map[string]string{"num_train_epochs": "3", "max_train_steps": "0", "gradient_accumulation_steps": "2"},
		map[string]any{"end_epoch": 3})
	require.NoError(t, err)
	require.Equal(t, int64(7), got.Job.Steps, "three epochs of five micro-batches have seven whole steps")
}
