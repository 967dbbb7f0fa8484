package server

import "net/http"

// The requests of SimpleTuner's web interface, of its tutorial and of recorded exchanges with it, and what those clients
// read; restated here as data.

// allOfStatus are the fields of /api/training/status.
var allOfStatus = []string{"status", "config", "job_id", "job_info", "progress", "startup_progress"}

// idleExchanges are made before the first job.
var idleExchanges = []exchange{
	{method: "GET", path: "/health", reads: []string{"status"}},
	{method: "GET", path: "/openapi.json", reads: []string{"info.title", "info.version", "paths"}},
	{method: "GET", path: "/docs", media: mediaHTML},
	{method: "GET", path: "/redoc", media: mediaHTML},
	{method: "GET", path: "/api/version", reads: []string{"version"}},
	{method: "GET", path: "/api/training/status", reads: allOfStatus,
		says: []string{`"status":"idle"`, `"config":{}`, `"job_id":null`, `"job_info":null`, `"progress":null`, `"startup_progress":{}`}},
	{method: "GET", path: "/api/training/events?since_index=0", says: []string{`{"events":[],"job_id":null}`}},
	{method: "GET", path: "/api/training/events?since_index=abc", status: http.StatusUnprocessableEntity,
		reads: []string{"detail[].type", "detail[].loc[]", "detail[].msg", "detail[].input"}},
	{method: "GET", path: "/api/training/events/stream", status: http.StatusNotFound, reads: []string{"detail"}},
	{method: "POST", path: "/api/training/validation/run", status: http.StatusBadRequest, says: []string{`{"detail":"No active training job"}`}},
	{method: "POST", path: "/api/training/checkpoint/run", status: http.StatusBadRequest, says: []string{`{"detail":"No active training job"}`}},
	{method: "POST", path: "/api/training/stop", says: []string{`{"message":"No active training job to stop"}`}},
	{method: "POST", path: "/api/training/cancel", body: formBody{"job_id": ""}, media: mediaHTML, says: []string{"alert-info", "No Active Training"}},
	{method: "POST", path: "/api/training/cancel", body: formBody{"job_id": "deadbeef"}, media: mediaHTML, says: []string{"No Active Training"}},
	{method: "GET", path: "/api/training/checkpoints", reads: []string{"checkpoints"}, says: []string{`"error":"No output directory specified"`}},
	{method: "GET", path: "/api/training/checkpoints?output_dir=OUT/nothing", reads: []string{"output_dir", "checkpoints", "total"}},
	{method: "GET", path: "/api/training/checkpoints/validate/checkpoint-1", reads: []string{"valid", "message"}},
	{method: "POST", path: "/api/training/validate", media: mediaHTML, says: []string{"alert-danger", "Validation Failed", "<li>"}},
	{method: "POST", path: "/api/training/configuration/check", media: mediaHTML, says: []string{"Validation Failed"}},
	{method: "POST", path: "/api/training/configuration/run", media: mediaHTML, says: []string{"alert-danger", "Cannot Start Training"}},
	{method: "POST", path: "/api/training/validate", media: mediaHTML, body: formBody{"--model_family": "<script>"}, says: []string{"&lt;script&gt;"}},
	{method: "GET", path: "/broadcast?last_event_index=0&timeout=0.1", says: []string{`{"events":[],"next_index":0}`}},
	{method: "GET", path: "/api/events/recent", media: mediaHTML},
	{method: "POST", path: "/callback", body: answer{"message_type": "configure_webhook", "message": "hello"},
		says: []string{`{"message":"Callback received successfully"}`}},
	{method: "POST", path: "/callback", body: "", status: http.StatusUnprocessableEntity, reads: []string{"detail[].msg"}},
	{method: "GET", path: "/broadcast?last_event_index=0&timeout=30", reads: []string{"events[].message_type", "events[].message", "events[].id", "next_index"}},
	{method: "GET", path: "/api/events/recent", media: mediaHTML, says: []string{"hello"}},
	{method: "GET", path: "/api/models", reads: []string{"families"}},
	{method: "GET", path: "/api/models/pixart_sigma", reads: []string{"family", "flavours", "default_flavour"}},
	{method: "GET", path: "/api/models/pixart/flavours", reads: []string{"flavours"}},
	{method: "GET", path: "/api/models/nothing", status: http.StatusNotFound, says: []string{"Model family 'nothing' not found"}},
	{method: "GET", path: "/api/queue", reads: []string{"jobs"}},
	{method: "GET", path: "/api/queue/stats", reads: []string{"by_status", "queue_depth", "running", "max_concurrent", "user_max_concurrent",
		"team_max_concurrent", "enable_fair_share"}},
	{method: "POST", path: "/api/queue/submit", body: answer{"config_name": "default", "no_wait": false, "any_gpu": false, "for_approval": false,
		"target": "auto"}, reads: []string{"success", "job_id", "status", "queue_position", "requires_approval", "error"}, says: []string{`"success":false`, "--model_family"}},
	{method: "POST", path: "/api/queue/submit", body: answer{"config_name": "nothing"}, status: http.StatusNotFound, reads: []string{"detail"}},
	{method: "GET", path: "/nothing", status: http.StatusNotFound, says: []string{`{"detail":"Not Found"}`}},
	{method: "PATCH", path: "/api/training/status", status: http.StatusMethodNotAllowed, says: []string{`{"detail":"Method Not Allowed"}`}},
}

// listedEntry are the fields of an environment in a list.
var listedEntry = []string{"configs[].name", "configs[].description", "configs[].model_family", "configs[].model_type", "configs[].model_flavour",
	"configs[].lora_type", "configs[].created_at", "configs[].modified_at", "configs[].tags", "configs[].dataloader_path",
	"configs[].data_backend_config", "configs[].has_dataloader", "active", "count", "config_type"}

// environmentExchanges are those of the environments tab.
var environmentExchanges = []exchange{
	{method: "GET", path: "/api/configs/", reads: listedEntry},
	{method: "GET", path: "/api/configs?config_type=model", reads: listedEntry}, // redirected
	{method: "GET", path: "/api/configs/examples", reads: []string{"examples[].name", "examples[].description", "examples[].defaults",
		"examples[].config_path", "examples[].dataloader_path", "examples[].has_dataloader", "count"}},
	{method: "GET", path: "/api/configs/templates", reads: []string{"templates[].name", "templates[].description", "count"}},
	{method: "GET", path: "/api/configs/project-name", reads: []string{"name"}},
	{method: "POST", path: "/api/configs/environments", body: answer{"name": "env", "model_family": "pixart_sigma", "model_flavour": nil,
		"model_type": "lora", "lora_type": "standard", "description": nil, "example": nil, "dataloader_path": "env/multidatabackend.json",
		"create_dataloader": true},
		reads: []string{"message", "environment.name", "environment.path", "config", "dataloader.path", "dataloader.absolute_path"}},
	{method: "POST", path: "/api/configs/environments", body: answer{"name": "env", "model_family": "pixart_sigma"}, status: http.StatusConflict,
		says: []string{"Environment 'env' already exists"}},
	{method: "POST", path: "/api/configs/environments", body: answer{"name": "from-example", "model_family": "pixart_sigma", "model_flavour": nil,
		"model_type": "full", "lora_type": nil, "description": nil, "example": "pixart.full", "dataloader_path": "from-example/multidatabackend.json",
		"create_dataloader": true}, reads: []string{"config", "dataloader.path"}},
	{method: "POST", path: "/api/configs/environments", body: answer{"name": "shared", "model_family": "pixart_sigma",
		"dataloader_path": "env/multidatabackend.json", "create_dataloader": false}, reads: []string{"dataloader.path"}},
	{method: "POST", path: "/api/configs/environments", body: answer{"name": "b c", "model_family": "x"}, status: http.StatusBadRequest, reads: []string{"detail"}},
	{method: "GET", path: "/api/configs/env?t=1763731200000", reads: []string{"name", "config.--model_family", "config.data_backend_config",
		"config.--data_backend_config", "metadata.name", "metadata.model_family", "metadata.model_type", "metadata.description", "config_type"}},
	{method: "PUT", path: "/api/configs/env", body: answer{"name": "env", "config": answer{"--model_family": "pixart_sigma", "--model_type": "lora",
		"--train_batch_size": "2", "--learning_rate": "1e-4", "--max_train_steps": "100", "--num_train_epochs": "0"}},
		reads: []string{"message", "metadata", "validation.warnings", "validation.suggestions"}},
	{method: "PUT", path: "/api/configs/nothing", body: answer{"name": "nothing", "config": answer{}}, status: http.StatusNotFound,
		says: []string{"Configuration 'nothing' not found"}},
	{method: "POST", path: "/api/configs/", body: answer{"name": "plain", "config": answer{"--seed": 1}}, says: []string{"created successfully"}},
	{method: "POST", path: "/api/configs/plain/copy?config_type=model", body: answer{"target_name": "second"}, reads: []string{"message", "metadata"}},
	{method: "POST", path: "/api/configs/second/rename?config_type=model", body: answer{"new_name": "third"}, reads: []string{"message", "metadata"}},
	{method: "GET", path: "/api/configs/third/export?config_type=model&include_metadata=false", reads: []string{"--seed"}},
	{method: "GET", path: "/api/configs/third/export", reads: []string{"_metadata.name", "config.--seed"}},
	{method: "POST", path: "/api/configs/import?config_type=model", body: answer{"name": "fourth", "data": answer{"--seed": 1}},
		says: []string{"Configuration imported as 'fourth'"}},
	{method: "POST", path: "/api/configs/from-template?config_type=model", body: answer{"template_name": "pixart.full", "config_name": "fifth"},
		reads: []string{"message", "metadata"}},
	{method: "POST", path: "/api/configs/env/validate", reads: []string{"name", "is_valid", "errors[]", "warnings", "suggestions"}},
	{method: "POST", path: "/api/configs/validate", body: answer{"--seed": 1}, reads: []string{"is_valid", "errors", "warnings", "suggestions"}},
	{method: "POST", path: "/api/configs/env/activate", says: []string{`{"active":"env","message":"Configuration 'env' is now active"}`}},
	{method: "GET", path: "/api/configs/active", reads: []string{"name", "config.--learning_rate", "metadata.name"}},
	{method: "DELETE", path: "/api/configs/env?config_type=model", status: http.StatusBadRequest, says: []string{"active configuration"}},
	{method: "DELETE", path: "/api/configs/fourth?config_type=model", says: []string{"deleted successfully"}},
	{method: "POST", path: "/api/training/config", body: formBody{"__active_tab__": "model", "--seed": "9", "configs_dir": "DIR"}, media: mediaHTML,
		says: []string{"text-success", "Configuration saved"}},
	{method: "POST", path: "/api/configs/default/activate", reads: []string{"active"}},
}

// fileExchanges are those of the other files: dataloaders, LyCORIS files and receivers of events.
var fileExchanges = []exchange{
	{method: "GET", path: "/api/configs/?config_type=dataloader", reads: []string{"configs[].name", "configs[].path", "configs[].dataset_count",
		"configs[].created_at", "configs[].modified_at", "count"}},
	{method: "GET", path: "/api/configs/data-backend-file?path=env/multidatabackend.json", reads: []string{"[].id", "[].conditioning"}},
	{method: "GET", path: "/api/configs/dataloader/content?path=DIR/env/multidatabackend.json", reads: []string{"[].id"}},
	{method: "GET", path: "/api/configs/dataloader/content?path=../../etc/passwd", status: http.StatusBadRequest,
		says: []string{"Resolved path is outside allowed directories"}},
	{method: "POST", path: "/api/configs/env/dataloader", body: answer{"path": nil},
		reads: []string{"message", "environment", "dataloader.path", "dataloader.absolute_path"}},
	{method: "POST", path: "/api/configs/env/dataloader", body: answer{"path": "env/multidatabackend-two.json", "include_defaults": false},
		reads: []string{"dataloader.path"}},
	{method: "POST", path: "/api/configs/env/dataloader", status: http.StatusUnprocessableEntity, reads: []string{"detail[].msg"}},
	{method: "DELETE", path: "/api/configs/dataloader?path=DIR/env/multidatabackend-two.json", reads: []string{"message"}},
	{method: "POST", path: "/api/configs?config_type=lycoris", body: answer{"name": "lokr", "config": answer{"algo": "lokr", "multiplier": 1.0,
		"linear_dim": 10000, "linear_alpha": 1, "factor": 16}, "description": nil, "tags": []string{}}, reads: []string{"message", "metadata"}},
	{method: "GET", path: "/api/configs/?config_type=lycoris", reads: []string{"configs[].name", "configs[].algo"}},
	{method: "GET", path: "/api/configs/lokr?config_type=lycoris", reads: []string{"config.algo", "config.factor"}},
	{method: "PUT", path: "/api/configs/lokr?config_type=lycoris", body: answer{"name": "lokr", "config": answer{"algo": "loha", "linear_dim": 16,
		"linear_alpha": 16}, "description": nil, "tags": []string{}}, reads: []string{"message"}},
	{method: "GET", path: "/api/configs/environments/env/lycoris", status: http.StatusNotFound, reads: []string{"detail"}},
	{method: "PUT", path: "/api/configs/environments/env/lycoris", body: answer{"config": answer{"algo": "lokr", "linear_dim": 16}},
		reads: []string{"message", "success", "path", "absolute_path", "environment_id"}},
	{method: "GET", path: "/api/configs/environments/env/lycoris", reads: []string{"config.algo"}},
	{method: "POST", path: "/api/configs/lycoris/validate", body: answer{"config": answer{}}, reads: []string{"valid", "errors[]", "warnings"}},
	{method: "POST", path: "/api/configs/webhooks", body: answer{"name": "hook", "config": answer{"webhook_type": "raw", "log_level": "info",
		"callback_url": "https://example.com/hook"}}, says: []string{"Webhook configuration 'hook' created"}},
	{method: "POST", path: "/api/configs/webhooks", body: answer{"name": "bad", "config": answer{"webhook_type": "discord"}}, status: http.StatusBadRequest,
		reads: []string{"detail.message", "detail.errors[]"}},
	{method: "GET", path: "/api/configs?config_type=webhook", reads: []string{"configs[].name", "configs[].webhook_type", "configs[].log_level"}},
	{method: "GET", path: "/api/configs/webhooks/hook", reads: []string{"config.webhook_type", "config.callback_url", "config.log_level"}},
	{method: "PUT", path: "/api/configs/webhooks/hook", body: answer{"config": answer{"webhook_type": "raw", "callback_url": "https://example.com/b"}},
		says: []string{"Webhook configuration 'hook' updated"}},
	{method: "POST", path: "/api/configs/webhooks/validate", body: answer{"config": answer{}}, reads: []string{"valid", "errors[]", "warnings"}},
	{method: "POST", path: "/api/configs/webhooks/hook/test", body: "", reads: []string{"success", "error"}},
	{method: "PUT", path: "/api/configs/env?config_type=model", body: answer{"name": "env", "config": answer{"--model_family": "pixart_sigma",
		"--webhook_config": "hook"}}, reads: []string{"message"}},
	{method: "DELETE", path: "/api/configs/webhooks/hook", reads: []string{"message", "success"}},
	{method: "DELETE", path: "/api/configs/webhooks/hook", status: http.StatusNotFound, says: []string{"Webhook configuration 'hook' not found"}},
}

// progressFields are those of the progress of a job.
var progressFields = []string{"progress.percent", "progress.step", "progress.total_steps", "progress.epoch", "progress.total_epochs", "progress.loss",
	"progress.learning_rate", "progress.metrics.effective_batch_size", "progress.metrics.total_batch_size", "progress.metrics.step_speed_seconds",
	"progress.metrics.seconds_per_step", "progress.metrics.steps_per_second", "progress.metrics.samples_per_second",
	"progress.metrics.iteration_step_time_seconds", "progress.metrics.grad_norm"}

// trainingExchanges are made while a job is at its fourth step.
var trainingExchanges = []exchange{
	{method: "GET", path: "/api/training/status", reads: append(append([]string{"job_info.status", "config.--model_family", "config.--output_dir",
		"config.--max_train_steps"}, allOfStatus...), progressFields...), says: []string{`"status":"running"`, `"job_id":"JOB"`}},
	{method: "GET", path: "/api/training/events?since_index=0", says: []string{`"job_id":"JOB"`, `"type":"state"`, `"status":"running"`},
		reads: []string{"events[].type", "events[].message", "events[].severity", "events[].timestamp", "events[].data", "next_index"}},
	{method: "GET", path: "/api/training/events?since_index=100000", says: []string{`"events":[]`, `"next_index":100000`}},
	{method: "GET", path: "/api/queue", reads: []string{"jobs[].job_id", "jobs[].status", "jobs[].position", "jobs[].config_name"}},
	{method: "POST", path: "/api/training/validation/run", says: []string{`"message":"Validation queued for the next gradient sync."`, `"job_id":"JOB"`}},
	{method: "POST", path: "/api/training/checkpoint/run", says: []string{`"message":"Checkpoint queued for the next gradient sync."`, `"job_id":"JOB"`}},
	{method: "GET", path: "/api/training/checkpoints", reads: []string{"output_dir", "checkpoints", "total"}},
	{method: "GET", path: "/broadcast?last_event_index=0&timeout=1", reads: []string{"events[].id", "events[].type", "next_index"}},
	{method: "POST", path: "/api/training/cancel", body: formBody{"job_id": "deadbeef"}, media: mediaHTML, says: []string{"No Active Training"}},
}

// checkpointFields are those of a checkpoint in a list.
var checkpointFields = []string{"output_dir", "total", "checkpoints[].name", "checkpoints[].path", "checkpoints[].step", "checkpoints[].global_step",
	"checkpoints[].epoch", "checkpoints[].timestamp"}

// endedExchanges are made when the job has ended.
var endedExchanges = []exchange{
	{method: "GET", path: "/api/training/status", reads: append([]string{"job_info.status"}, progressFields...),
		says: []string{`"status":"completed"`, `"percent":100`, `"startup_progress":{}`, `"job_id":"JOB"`}},
	{method: "GET", path: "/api/training/events?since_index=0", says: []string{`"result":"0"`, "Manual checkpoint requested", `"type":"training.checkpoint"`,
		`"type":"training.validation"`, `"type":"validation.image"`, `"src":"data:image/png;base64,`, `"mime_type":"image/png"`}},
	{method: "GET", path: "/api/training/checkpoints", reads: checkpointFields, says: []string{`"is_latest":true`}},
	{method: "GET", path: "/api/training/checkpoints?output_dir=OUT/run", reads: checkpointFields},
	{method: "POST", path: "/api/training/checkpoints", reads: checkpointFields},
	{method: "GET", path: "/api/training/checkpoints/validate/checkpoint-6", says: []string{`"valid":true`}, reads: []string{"checkpoint", "message"}},
	{method: "GET", path: "/api/training/checkpoints/validate/checkpoint-5", says: []string{`"valid":false`}, reads: []string{"checkpoint", "message"}},
	{method: "POST", path: "/api/training/validation/run", status: http.StatusBadRequest, reads: []string{"detail"}},
	{method: "POST", path: "/api/training/stop", reads: []string{"message"}},
	{method: "GET", path: "/api/events/recent", media: mediaHTML},
}

// eventFields are those of every event but the short ones of steps.
var eventFields = []string{"id", "type", "message_type", "severity", "title", "headline", "message", "body", "job_id", "timestamp",
	"timestamp_display", "images", "videos", "audios"}

// streamedReads are the fields that the web interface reads, by the name of the message.
var streamedReads = map[string][]string{
	"connection":          {"type", "message"},
	"heartbeat":           {"type", "timestamp"},
	"notification":        eventFields,
	"error":               eventFields,
	"callback:debug":      eventFields,
	"callback:status":     eventFields,
	"lifecycle.stage":     append([]string{"stage.key", "stage.label", "stage.status"}, eventFields...),
	"training.status":     append([]string{"status", "data.status"}, eventFields...),
	"callback:checkpoint": append([]string{"checkpoint.path", "checkpoint.label", "checkpoint.is_final"}, eventFields...),
	"callback:validation": append([]string{"validation.title", "validation.assets", "images[].src", "images[].mime_type", "data.prompt"}, eventFields...),
	"training.progress": {"type", "job_id", "percent", "step", "total_steps", "epoch", "total_epochs", "loss", "learning_rate", "metrics.effective_batch_size",
		"metrics.step_speed_seconds"},
}
