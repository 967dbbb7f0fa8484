package server

import (
	"net/http"

	"github.com/stepd/stepd/sessions/job"
)

// optionsBody are the options of a job as fields of a form, with or without their dashes.
var optionsBody = Body{
	Media: []string{mediaMultipart, mediaForm, mediaJSON}, Open: true,
	Fields: []Field{
		{Name: "__active_tab__", Kind: job.Text, Doc: "has no effect"},
		{Name: "__disabled_fields__", Kind: job.Text, Doc: "options to leave out of the active environment, separated by commas"},
		{Name: "__replace_active_config__", Kind: job.Bool, Doc: "do not merge over the active environment"},
		{Name: "--model_family", Kind: job.Text, Doc: "pixart_sigma; this and all other options: docs/options.md"},
		{Name: "--output_dir", Kind: job.Text, Doc: "folder of the run"},
		{Name: "--data_backend_config", Kind: job.Text, Doc: "dataloader file"},
		{Name: "--max_train_steps", Kind: job.Int, Max: largestInteger, Doc: "optimizer steps; give this or --num_train_epochs, and 0 for the other"},
		{Name: "--num_train_epochs", Kind: job.Int, Max: largestInteger, Default: 1, Doc: "passes over the data"},
	},
}

var (
	validateTrainingSpec = Spec{Body: optionsBody, Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
		Doc: "a box with the heading Configuration Valid, Validation Warnings or Validation Failed, and every problem"}}}
	saveTrainingSpec = Spec{Body: optionsBody, Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
		Doc: "Configuration saved, or Failed to save and the reason"}}}
	startTrainingSpec = Spec{Body: optionsBody, Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
		Doc: "a box with the heading Training Starting or Training Queued and the Job ID, or Cannot Start Training, Training Rejected or Failed to Start Training and the reasons"}}}
	stopTrainingSpec   = answers(Answer{Status: http.StatusOK, Doc: "what was asked of which job", Example: accepted{}})
	cancelTrainingSpec = Spec{
		Body: Body{Media: []string{mediaMultipart, mediaForm, mediaJSON}, Open: true,
			Fields: []Field{{Name: "job_id", Kind: job.Text, Doc: "job to stop, also one that waits for its turn; default: the current one"}}},
		Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML, Doc: "a box with the heading Training Cancelled, No Active Training or Failed to Cancel Training"}}}
	runValidationSpec  = answers(Answer{Status: http.StatusOK, Doc: "the pictures come after the current step", Example: accepted{}}, noJobAnswer)
	runCheckpointSpec  = answers(Answer{Status: http.StatusOK, Doc: "the checkpoint comes after the current step", Example: accepted{}}, noJobAnswer)
	trainingStatusSpec = answers(Answer{Status: http.StatusOK, Doc: "status is idle, starting, running, completed, error, stopped or cancelled", Example: trainingState{}})
	noJobAnswer        = Answer{Status: http.StatusBadRequest, Doc: "no job is active", Example: detail{"No active training job"}}
)
