package server

import (
	"net/http"

	"github.com/gofiber/fiber/v2"
)

// Route is one line of the table of routes.
type Route struct {
	Method  string
	Path    string
	Summary string
	Handle  func(*Server, *fiber.Ctx) error
}

// routes is everything that the server answers. A new resource is one file with handlers and its lines here.
var routes = []Route{
	{http.MethodGet, "/health", "answers as soon as requests are served", (*Server).health},

	{http.MethodPost, "/sessions", "create a training session", (*Server).createSession},
	{http.MethodGet, "/sessions", "all sessions, keyed by id", (*Server).listSessions},
	{http.MethodGet, "/sessions/:id", "one session", (*Server).getSession},
	{http.MethodPost, "/sessions/:id/steps", "grant steps and wait until they are trained", (*Server).grantSteps},
	{http.MethodPost, "/sessions/:id/abort", "stop at the next step, with a checkpoint", (*Server).abortSession},
	{http.MethodDelete, "/sessions/:id", "abort and forget a session; files stay", (*Server).deleteSession},
	{http.MethodGet, "/sessions/:id/logs", "recent log lines", (*Server).getLogs},
	{http.MethodGet, "/sessions/:id/logs/stream", "log lines as they come: plain text, or SSE when the client accepts it", (*Server).streamLogs},
	{http.MethodGet, "/sessions/:id/events", "numbered events; as SSE when the client accepts it", (*Server).getEvents},
	{http.MethodPost, "/sessions/:id/epochs", "gone", (*Server).grantEpochs},
}
