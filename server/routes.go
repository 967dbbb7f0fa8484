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
	{http.MethodPost, "/sessions/:id/epochs", tagSessions, Token, "gone", (*Server).grantEpochs, grantEpochsSpec},
}
