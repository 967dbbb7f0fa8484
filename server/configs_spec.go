package server

import (
	"encoding/json"
	"net/http"

	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job"
)

var configTypeField = Field{Name: "config_type", Kind: job.Text, Default: "model", Choices: []string{"model", "dataloader", "webhook", "lycoris"},
	Doc: "what the configuration configures"}

// Answers that many routes share.
var (
	badName      = Answer{Status: http.StatusBadRequest, Doc: "the name cannot be used", Example: detail{}}
	unknownName  = Answer{Status: http.StatusNotFound, Doc: "there is no configuration of this name", Example: detail{}}
	takenName    = Answer{Status: http.StatusConflict, Doc: "the name is taken", Example: detail{}}
	brokenConfig = Answer{Status: http.StatusUnprocessableEntity, Doc: "the file is not a usable configuration", Example: detail{}}
	badOptions   = Answer{Status: http.StatusUnprocessableEntity, Doc: "every option that is wrong, or every field of the wrong form", Example: refusal{}}
	written      = Answer{Status: http.StatusOK, Doc: "written", Example: object{"message": "", "metadata": configs.Metadata{}}}
	judged       = Answer{Status: http.StatusOK, Doc: "what there is to say", Example: object{
		"is_valid": true, "errors": []string{}, "warnings": []string{}, "suggestions": []string{}}}
)

// configBody is the body of creating and updating.
var configBody = Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
	{Name: "name", Kind: job.Text, Required: true, Doc: "letters, digits, '.', '_' and '-'; when replacing, the path decides"},
	{Name: "description", Kind: job.Text, Doc: "for people; empty leaves the old one"},
	{Name: "config", Kind: job.Object, Required: true, Doc: "options, with or without leading dashes; for a dataloader, the list of datasets"},
	{Name: "tags", Kind: job.Texts, Doc: "for people; empty leaves the old ones"},
}, Example: object{"name": "my-environment", "config": object{"--model_family": "pixart_sigma", "--max_train_steps": 200}}}

// configObject is a body {"config": {…}}.
var configObject = Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
	{Name: "config", Kind: job.Object, Required: true, Doc: "the configuration"},
}, Example: object{"config": object{"algo": "lokr", "linear_dim": 16, "linear_alpha": 1}}}

func oneText(field, doc string) Body {
	return Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{{Name: field, Kind: job.Text, Required: true, Doc: doc}},
		Example: object{field: "another-name"}}
}

func ofType(spec Spec) Spec {
	spec.Query = append([]Field{configTypeField}, spec.Query...)
	return spec
}

var (
	listConfigsSpec = ofType(answers(Answer{Status: http.StatusOK,
		Doc: "entries by name, with an error if the file cannot be read; active is null for other types than model", Example: object{
			"configs": []configs.Entry{}, "active": (*string)(nil), "count": 0, "config_type": "model"}}))
	getConfigSpec = ofType(answers(Answer{Status: http.StatusOK, Doc: "the configuration; the path of the dataloader in both spellings", Example: object{
		"name": "", "config": nil, "metadata": configs.Metadata{}, "config_type": "model"}}, unknownName, brokenConfig))
	activeConfigSpec = answers(Answer{Status: http.StatusOK, Doc: "the environment; name and metadata are null when there is none", Example: object{
		"name": (*string)(nil), "config": object(nil), "metadata": (*configs.Metadata)(nil)}}, brokenConfig)
	listExamplesSpec = answers(Answer{Status: http.StatusOK, Doc: "what the program carries", Example: object{"examples": []any{object{
		"name": "", "description": "", "defaults": object(nil), "config_path": "", "dataloader_path": "", "has_dataloader": true}}, "count": 0}})
	listTemplatesSpec = answers(Answer{Status: http.StatusOK, Doc: "files of the templates folder, and the examples", Example: object{
		"templates": []configs.Metadata{}, "count": 0}})
	projectNameSpec     = answers(Answer{Status: http.StatusOK, Doc: "two words", Example: object{"name": ""}})
	dataBackendFileSpec = Spec{Query: []Field{{Name: "path", Kind: job.Text, Required: true, Doc: "of the file, relative to the configs directory"}},
		Answers: []Answer{{Status: http.StatusOK, Doc: "the JSON of the file", Example: json.RawMessage(nil)}, unknownName, brokenConfig,
			{Status: http.StatusBadRequest, Doc: "the path leads elsewhere", Example: detail{}}}}
	deleteDataloaderFileSpec = Spec{Query: []Field{{Name: "path", Kind: job.Text, Required: true, Doc: "of the file, as lists of dataloaders name it"}},
		Answers: []Answer{{Status: http.StatusOK, Doc: "deleted", Example: object{"message": ""}}, unknownName,
			{Status: http.StatusBadRequest, Doc: "the path leads elsewhere, or to a file of another kind", Example: detail{}}}}
	exportConfigSpec = ofType(Spec{Query: []Field{{Name: "include_metadata", Kind: job.Bool, Default: true, Doc: "false: the bare configuration"}},
		Answers: []Answer{{Status: http.StatusOK, Doc: "the export; a list, of a bare dataloader", Example: json.RawMessage(nil)}, unknownName, brokenConfig}})
)

var stored = Answer{Status: http.StatusOK, Doc: "written", Example: object{"message": "", "metadata": configs.Metadata{},
	"validation": object{"warnings": []string{}, "suggestions": []string{}}}}

var (
	createConfigSpec   = ofType(Spec{Body: configBody, Answers: []Answer{stored, badName, takenName, badOptions}})
	updateConfigSpec   = ofType(Spec{Body: configBody, Answers: []Answer{stored, badName, unknownName, badOptions}})
	deleteConfigSpec   = ofType(answers(Answer{Status: http.StatusOK, Doc: "deleted", Example: object{"message": ""}}, badName, unknownName))
	activateConfigSpec = answers(Answer{Status: http.StatusOK, Doc: "active from now on",
		Example: object{"message": "", "active": ""}}, badName, unknownName, brokenConfig)
	renameConfigSpec = ofType(Spec{Body: oneText("new_name", "the new name"), Answers: []Answer{written, badName, unknownName, takenName}})
	copyConfigSpec   = ofType(Spec{Body: oneText("target_name", "name of the copy"), Answers: []Answer{written, badName, unknownName, takenName}})
	importConfigSpec = ofType(Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
		{Name: "data", Kind: job.Object, Required: true, Doc: "an export, or a bare configuration"},
		{Name: "name", Kind: job.Text, Doc: "default: that of the export, else imported_ and the date"},
		{Name: "overwrite", Kind: job.Bool, Default: false, Doc: "replace a configuration of this name"},
	}, Example: object{"data": object{"--model_family": "pixart_sigma"}, "name": "imported"}},
		Answers: []Answer{written, badName, takenName, brokenConfig, badOptions}})
	fromTemplateSpec = Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
		{Name: "template_name", Kind: job.Text, Required: true, Doc: "one of /api/configs/templates"},
		{Name: "config_name", Kind: job.Text, Required: true, Doc: "name of the new configuration"},
	}, Example: object{"template_name": "pixart.full", "config_name": "my-environment"}}, Answers: []Answer{written, badName, unknownName, takenName}}
	validateConfigSpec = ofType(Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Example: object{"--model_family": "pixart_sigma"}},
		Answers: []Answer{judged}})
	validateStoredSpec = ofType(answers(Answer{Status: http.StatusOK, Doc: "what there is to say", Example: object{
		"name": "", "is_valid": true, "errors": []string{}, "warnings": []string{}, "suggestions": []string{}}}, unknownName, brokenConfig))
)

var (
	createEnvironmentSpec = Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
		{Name: "name", Kind: job.Text, Required: true, Doc: "letters, digits, '.', '_' and '-'"},
		{Name: "model_family", Kind: job.Text, Required: true, Doc: "as pixart_sigma"},
		{Name: "model_flavour", Kind: job.Text, Doc: "as 900M-1024-v0.6"},
		{Name: "model_type", Kind: job.Text, Default: "lora", Doc: "full or lora"},
		{Name: "lora_type", Kind: job.Text, Doc: "standard or lycoris"},
		{Name: "description", Kind: job.Text, Doc: "for people"},
		{Name: "example", Kind: job.Text, Doc: "one of /api/configs/examples to start from"},
		{Name: "dataloader_path", Kind: job.Text, Doc: "where the dataloader lies; default: in the folder of the environment"},
		{Name: "create_dataloader", Kind: job.Bool, Default: true, Doc: "write a starter dataloader"},
	}, Example: object{"name": "my-environment", "model_family": "pixart_sigma", "model_type": "full"}},
		Answers: []Answer{{Status: http.StatusOK, Doc: "created", Example: object{"message": "", "environment": configs.Metadata{}, "config": object(nil),
			"dataloader": configs.FilePlace{}}}, badName, takenName, {Status: http.StatusNotFound, Doc: "no such example or dataloader", Example: detail{}}}}
	regenerateSpec = Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
		{Name: "path", Kind: job.Text, Doc: "of the file, relative to the configs directory; default: in the folder of the environment"},
		{Name: "include_defaults", Kind: job.Bool, Default: true, Doc: "false: an empty list"},
	}, Example: object{"include_defaults": true}}, Answers: []Answer{{Status: http.StatusOK, Doc: "written; dataloader.backup names the old file", Example: object{
		"message": "", "environment": configs.Metadata{}, "dataloader": configs.FilePlace{}}}, badName, unknownName, takenName}}
	getLycorisSpec = answers(Answer{Status: http.StatusOK, Doc: "the file",
		Example: object{"environment_id": "", "config": object(nil)}}, unknownName, brokenConfig)
	putLycorisSpec = Spec{Body: configObject, Answers: []Answer{{Status: http.StatusOK, Doc: "written", Example: object{
		"message": "", "environment_id": "", "success": true, "path": "", "absolute_path": ""}}, badName, unknownName, badOptions}}
	shortValidateSpec = Spec{Body: configObject, Answers: []Answer{{Status: http.StatusOK, Doc: "what there is to say", Example: object{
		"valid": true, "errors": []string{}, "warnings": []string{}}}}}
)

var webhookExample = object{"webhook_type": "raw", "callback_url": "https://example.com/simpletuner", "log_level": "info"}

// refusedWebhook is the detail of a receiver that is not stored.
var refusedWebhook = Answer{Status: http.StatusBadRequest, Doc: "the name or the receiver is wrong; for the receiver, detail is an object", Example: object{
	"detail": nil}}

var (
	savedWebhook      = Answer{Status: http.StatusOK, Doc: "written", Example: object{"message": "", "success": true, "name": "", "path": "", "absolute_path": ""}}
	createWebhookSpec = Spec{Body: Body{Media: []string{mediaJSON}, Open: true, Fields: []Field{
		{Name: "name", Kind: job.Text, Required: true, Doc: "letters, digits, '.', '_' and '-'"},
		{Name: "config", Kind: job.Object, Required: true, Doc: "the receiver"},
	}, Example: object{"name": "dashboard", "config": webhookExample}}, Answers: []Answer{savedWebhook, refusedWebhook}}
	putWebhookSpec    = Spec{Body: configObject, Answers: []Answer{savedWebhook, refusedWebhook}}
	getWebhookSpec    = answers(Answer{Status: http.StatusOK, Doc: "the receiver", Example: object{"name": "", "config": object(nil)}}, unknownName, brokenConfig)
	deleteWebhookSpec = answers(Answer{Status: http.StatusOK, Doc: "deleted", Example: object{"message": "", "success": true, "name": ""}}, unknownName)
	testWebhookSpec   = answers(Answer{Status: http.StatusOK, Doc: "whether the receiver took the message; else error says why",
		Example: object{"success": true}}, unknownName)
)
