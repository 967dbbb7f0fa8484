package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"
)

// Route is one line of the table of routes. The table decides what is served, who may ask, and what /openapi.json says.
type Route struct {
	Method string
	// Path is a fiber pattern: ":name" stands for one segment.
	Path    string
	Tag     string // group in the document; pages for people are not part of it
	Access  Access
	Summary string
	Handle  func(*Server, *fiber.Ctx) error
	Spec    Spec
}

// Access is the rule of who may use a route. The zero value is no rule: such a route is refused to everyone.
type Access int

// The rules of access.
const (
	_     Access = iota
	Open         // without a token
	Token        // with the token, where the server has one
)

// Tags of the documentation.
const (
	tagPages          = ""
	tagServer         = "server"
	tagSessions       = "sessions"
	tagTraining       = "training"
	tagConfigurations = "configurations"
)

// routes is everything that the server answers. A new resource is one file with handlers and its lines here.
var routes = []Route{
	{http.MethodGet, "/health", tagServer, Open, "answers as soon as requests are served", (*Server).health, healthSpec},
	{http.MethodGet, "/openapi.json", tagServer, Open, "this API as an OpenAPI document", (*Server).getOpenAPI, openAPISpec},
	{http.MethodGet, "/docs", tagPages, Open, "this API in Swagger UI", swaggerPage, Spec{}},
	{http.MethodGet, "/docs/start.js", tagPages, Open, "starts Swagger UI", swaggerStart, Spec{}},
	{http.MethodGet, "/docs/swagger-ui.css", tagPages, Open, "styles of Swagger UI", swaggerStyles, Spec{}},
	{http.MethodGet, "/docs/swagger-ui-bundle.js", tagPages, Open, "Swagger UI", swaggerProgram, Spec{}},
	{http.MethodGet, "/redoc", tagPages, Open, "this API in ReDoc", redocPage, Spec{}},
	{http.MethodGet, "/redoc/start.js", tagPages, Open, "starts ReDoc", redocStart, Spec{}},
	{http.MethodGet, "/redoc/redoc.standalone.js", tagPages, Open, "ReDoc", redocProgram, Spec{}},

	{http.MethodPost, "/sessions", tagSessions, Token, "create a training session", (*Server).createSession, createSessionSpec},
	{http.MethodGet, "/sessions", tagSessions, Token, "all sessions, keyed by id", (*Server).listSessions, listSessionsSpec},
	{http.MethodGet, "/sessions/:id", tagSessions, Token, "one session", (*Server).getSession, getSessionSpec},
	{http.MethodPost, "/sessions/:id/steps", tagSessions, Token, "grant steps and wait until they are trained", (*Server).grantSteps, grantStepsSpec},
	{http.MethodPost, "/sessions/:id/abort", tagSessions, Token, "stop at the next step, with a checkpoint", (*Server).abortSession, abortSessionSpec},
	{http.MethodDelete, "/sessions/:id", tagSessions, Token, "abort and forget a session; files stay", (*Server).deleteSession, deleteSessionSpec},
	{http.MethodGet, "/sessions/:id/logs", tagSessions, Token, "recent log lines", (*Server).getLogs, getLogsSpec},
	{http.MethodGet, "/sessions/:id/logs/stream", tagSessions, Token, "log lines as they come: plain text, or SSE when the client accepts it", (*Server).streamLogs, streamLogsSpec},
	{http.MethodGet, "/sessions/:id/events", tagSessions, Token, "numbered events; as SSE when the client accepts it", (*Server).getEvents, getEventsSpec},
	{http.MethodGet, "/sessions/:id/webhooks", tagSessions, Token, "how far the receivers of its events have got, and what they will not get", (*Server).getReceivers, getReceiversSpec},
	{http.MethodPost, "/sessions/:id/epochs", tagSessions, Token, "gone", (*Server).grantEpochs, grantEpochsSpec},

	{http.MethodGet, "/api/configs/", tagConfigurations, Token, "all configurations of a type, and which environment is active", (*Server).listConfigs, listConfigsSpec},
	{http.MethodPost, "/api/configs/", tagConfigurations, Token, "create a configuration", (*Server).createConfig, createConfigSpec},
	{http.MethodGet, "/api/configs/active", tagConfigurations, Token, "the active environment", (*Server).getActiveConfig, activeConfigSpec},
	{http.MethodGet, "/api/configs/examples", tagConfigurations, Token, "complete environments to start from", (*Server).listExamples, listExamplesSpec},
	{http.MethodGet, "/api/configs/templates", tagConfigurations, Token, "options to start from", (*Server).listTemplates, listTemplatesSpec},
	{http.MethodGet, "/api/configs/project-name", tagConfigurations, Token, "make up a name", (*Server).projectName, projectNameSpec},
	{http.MethodGet, "/api/configs/data-backend-file", tagConfigurations, Token, "the content of a dataloader file", (*Server).getDataBackendFile, dataBackendFileSpec},
	{http.MethodGet, "/api/configs/dataloader/content", tagConfigurations, Token, "the content of a dataloader file", (*Server).getDataBackendFile, dataBackendFileSpec},
	{http.MethodDelete, "/api/configs/dataloader", tagConfigurations, Token, "delete a dataloader file", (*Server).deleteDataloaderFile, deleteDataloaderFileSpec},
	{http.MethodPost, "/api/configs/environments", tagConfigurations, Token, "create an environment and its starter dataloader", (*Server).createEnvironment, createEnvironmentSpec},
	{http.MethodGet, "/api/configs/environments/:name/lycoris", tagConfigurations, Token, "the LyCORIS file of an environment", (*Server).getLycoris, getLycorisSpec},
	{http.MethodPut, "/api/configs/environments/:name/lycoris", tagConfigurations, Token, "write the LyCORIS file of an environment", (*Server).putLycoris, putLycorisSpec},
	{http.MethodPost, "/api/configs/lycoris/validate", tagConfigurations, Token, "check a LyCORIS configuration", (*Server).validateLycoris, shortValidateSpec},
	{http.MethodPost, "/api/configs/webhooks", tagConfigurations, Token, "create a receiver of events", (*Server).createWebhook, createWebhookSpec},
	{http.MethodPost, "/api/configs/webhooks/validate", tagConfigurations, Token, "check a receiver of events", (*Server).validateWebhook, shortValidateSpec},
	{http.MethodGet, "/api/configs/webhooks/:name", tagConfigurations, Token, "a receiver of events", (*Server).getWebhook, getWebhookSpec},
	{http.MethodPut, "/api/configs/webhooks/:name", tagConfigurations, Token, "replace a receiver of events", (*Server).putWebhook, putWebhookSpec},
	{http.MethodDelete, "/api/configs/webhooks/:name", tagConfigurations, Token, "delete a receiver of events", (*Server).deleteWebhook, deleteWebhookSpec},
	{http.MethodPost, "/api/configs/webhooks/:name/test", tagConfigurations, Token, "send a test message to a receiver", (*Server).testWebhook, testWebhookSpec},
	{http.MethodPost, "/api/configs/import", tagConfigurations, Token, "write an export, or bare options", (*Server).importConfig, importConfigSpec},
	{http.MethodPost, "/api/configs/from-template", tagConfigurations, Token, "create a configuration out of a template", (*Server).configFromTemplate, fromTemplateSpec},
	{http.MethodPost, "/api/configs/validate", tagConfigurations, Token, "check options that are not stored", (*Server).validateConfig, validateConfigSpec},
	{http.MethodGet, "/api/configs/:name", tagConfigurations, Token, "a configuration", (*Server).getConfig, getConfigSpec},
	{http.MethodPut, "/api/configs/:name", tagConfigurations, Token, "replace a configuration", (*Server).updateConfig, updateConfigSpec},
	{http.MethodDelete, "/api/configs/:name", tagConfigurations, Token, "delete a configuration that is not active", (*Server).deleteConfig, deleteConfigSpec},
	{http.MethodPost, "/api/configs/:name/activate", tagConfigurations, Token, "make an environment the active one", (*Server).activateConfig, activateConfigSpec},
	{http.MethodPost, "/api/configs/:name/rename", tagConfigurations, Token, "rename a configuration", (*Server).renameConfig, renameConfigSpec},
	{http.MethodPost, "/api/configs/:name/copy", tagConfigurations, Token, "copy a configuration with everything in its folder", (*Server).copyConfig, copyConfigSpec},
	{http.MethodGet, "/api/configs/:name/export", tagConfigurations, Token, "a configuration to keep elsewhere", (*Server).exportConfig, exportConfigSpec},
	{http.MethodPost, "/api/configs/:name/validate", tagConfigurations, Token, "check a stored configuration", (*Server).validateStoredConfig, validateStoredSpec},
	{http.MethodPost, "/api/configs/:name/dataloader", tagConfigurations, Token, "write the starter dataloader again; the old file is kept", (*Server).regenerateDataloader, regenerateSpec},

	{http.MethodPost, "/api/training/validate", tagTraining, Token, "check a configuration", (*Server).validateTraining, validateTrainingSpec},
	{http.MethodPost, "/api/training/configuration/check", tagTraining, Token, "the same as validate", (*Server).validateTraining, validateTrainingSpec},
	{http.MethodPost, "/api/training/config", tagTraining, Token, "save a configuration in the active environment", (*Server).saveTraining, saveTrainingSpec},
	{http.MethodPost, "/api/training/start", tagTraining, Token, "start a job, or queue it behind the one at work", (*Server).startTraining, startTrainingSpec},
	{http.MethodPost, "/api/training/configuration/run", tagTraining, Token, "the same as start", (*Server).startTraining, startTrainingSpec},
	{http.MethodPost, "/api/training/stop", tagTraining, Token, "stop the current job at its next step, with a checkpoint", (*Server).stopTraining, stopTrainingSpec},
	{http.MethodPost, "/api/training/cancel", tagTraining, Token, "stop the current job, or the one that job_id names", (*Server).cancelTraining, cancelTrainingSpec},
	{http.MethodPost, "/api/training/validation/run", tagTraining, Token, "make the validation pictures after the current step", (*Server).runValidation, runValidationSpec},
	{http.MethodPost, "/api/training/checkpoint/run", tagTraining, Token, "make a checkpoint after the current step", (*Server).runCheckpoint, runCheckpointSpec},
	{http.MethodGet, "/api/training/status", tagTraining, Token, "state and progress of the current or last job", (*Server).trainingStatus, trainingStatusSpec},
	{http.MethodGet, "/api/training/events", tagTraining, Token, "all events of the current or last job", (*Server).trainingEvents, trainingEventsSpec},
	{http.MethodGet, "/api/training/events/stream", tagTraining, Token, "the same as they come: WebSocket, or SSE when the client accepts it", (*Server).trainingStream, trainingStreamSpec},
	{http.MethodGet, "/api/training/checkpoints", tagTraining, Token, "checkpoints of a run", (*Server).listCheckpoints, listCheckpointsSpec},
	{http.MethodPost, "/api/training/checkpoints", tagTraining, Token, "checkpoints of a run", (*Server).listCheckpoints, postCheckpointsSpec},
	{http.MethodGet, "/api/training/checkpoints/validate/:name", tagTraining, Token, "compare a checkpoint with its manifest", (*Server).validateCheckpoint, validateCheckpointSpec},

	{http.MethodGet, "/api/queue", tagTraining, Token, "the jobs that have not ended", (*Server).listQueue, listQueueSpec},
	{http.MethodGet, "/api/queue/stats", tagTraining, Token, "how many jobs wait, run and have ended", (*Server).countQueue, queueStatsSpec},
	{http.MethodPost, "/api/queue/submit", tagTraining, Token, "start a job with the options of an environment", (*Server).submitToQueue, submitQueueSpec},
	{http.MethodPost, "/api/queue/:id/cancel", tagTraining, Token, "stop a job, also one that waits for its turn", (*Server).cancelQueued, cancelQueueSpec},
	{http.MethodGet, "/api/models", tagTraining, Token, "model families that can be trained", (*Server).listFamilies, listFamiliesSpec},
	{http.MethodGet, "/api/models/:name", tagTraining, Token, "a model family", (*Server).getFamily, getFamilySpec},
	{http.MethodGet, "/api/models/:name/flavours", tagTraining, Token, "the published models of a family", (*Server).getFamily, getFamilySpec},
	{http.MethodGet, "/api/version", tagServer, Token, "version of the native core", (*Server).version, versionSpec},

	{http.MethodGet, "/api/events", tagTraining, Token, "events of all jobs as SSE", (*Server).streamGlobalEvents, globalEventsSpec},
	{http.MethodGet, "/api/events/recent", tagTraining, Token, "the newest events as HTML", (*Server).listRecentEvents, recentEventsSpec},
	{http.MethodPost, "/callback", tagTraining, Token, "show a message of another program among the events", (*Server).takeCallback, callbackSpec},
	{http.MethodGet, "/broadcast", tagTraining, Token, "events of all jobs by long poll", (*Server).pollGlobalEvents, broadcastSpec},
}
