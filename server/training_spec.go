package server

import (
	"net/http"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// optionsBody are the options of a job as fields of a form, with or without their dashes.
var optionsBody = Body{
	Name: "TrainingOptions", Media: []string{mediaMultipart, mediaForm, mediaJSON}, Open: true,
	Fields: append([]Field{
		{Name: "__active_tab__", Kind: job.Text, Doc: "has no effect"},
		{Name: "__disabled_fields__", Kind: job.Text, Doc: "options to leave out of the active environment, separated by commas"},
		{Name: "__replace_active_config__", Kind: job.Bool, Doc: "do not merge over the active environment"},
	}, optionFields()...),
	Example: map[string]any{"__active_tab__": "model", "--model_family": "pixart_sigma", "--model_type": "lora",
		"--output_dir": "my-run", "--data_backend_config": "config/multidatabackend.json", "--max_train_steps": 200, "--num_train_epochs": 0},
}

// optionFields are the options of the dialect's table.
func optionFields() []Field {
	var fields []Field
	for _, row := range simpletuner.Rows() {
		f := Field{Name: "--" + row.Name, Kind: row.Kind, Default: row.Default, Min: row.Min, Max: row.Max, Choices: row.Choices, Doc: row.Doc}
		if row.Kind == job.Texts || row.Kind == job.Object {
			f.Kind, f.Default = job.Text, nil // JSON, as the text of a field
		}
		switch row.Support {
		case simpletuner.Refused:
			f.Doc += " (not supported: refused when it would change the result)"
		case simpletuner.Hint:
			f.Doc += " (has no effect)"
		case simpletuner.Unserved:
			f.Doc += " (not done)"
		}
		fields = append(fields, f)
	}
	return fields
}

var (
	validateTrainingSpec = Spec{Body: optionsBody, Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
		Doc: "a box with the heading Configuration Valid, Validation Warnings or Validation Failed, and every problem"}}}
	saveTrainingSpec = Spec{Body: optionsBody, Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
		Doc: "Configuration saved, or Failed to save and the reason"}}}
	startTrainingSpec = Spec{Body: optionsBody, Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
		Doc: "a box with the heading Training Starting or Training Queued and the Job ID, " +
			"or Cannot Start Training, Training Rejected or Failed to Start Training and the reasons"}}}
	stopTrainingSpec   = answers(Answer{Status: http.StatusOK, Doc: "what was asked of which job", Example: accepted{}})
	cancelTrainingSpec = Spec{
		Body: Body{Media: []string{mediaMultipart, mediaForm, mediaJSON}, Open: true,
			Fields: []Field{{Name: "job_id", Kind: job.Text, Doc: "job to stop, also one that waits for its turn; default: the current one"}}},
		Answers: []Answer{{Status: http.StatusOK, Media: mediaHTML,
			Doc: "a box with the heading Training Cancelled, No Active Training or Failed to Cancel Training"}}}
	runValidationSpec  = answers(Answer{Status: http.StatusOK, Doc: "the pictures come after the current step", Example: accepted{}}, noJobAnswer)
	runCheckpointSpec  = answers(Answer{Status: http.StatusOK, Doc: "the checkpoint comes after the current step", Example: accepted{}}, noJobAnswer)
	trainingStatusSpec = answers(Answer{Status: http.StatusOK,
		Doc: "status is idle, starting, running, completed, error, stopped or cancelled", Example: trainingState{}})
	noJobAnswer = Answer{Status: http.StatusBadRequest, Doc: "no job is active", Example: detail{"No active training job"}}
)
