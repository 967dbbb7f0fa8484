package server

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"
)

// Problem is one entry of a 422 answer, in the shape that FastAPI clients parse.
type Problem struct {
	Type    string         `json:"type"`
	Loc     []any          `json:"loc"` // "body", "query", "path" or "header", then the way to the field
	Message string         `json:"msg"`
	Input   any            `json:"input"`
	Context map[string]any `json:"ctx,omitempty"`
}

// detail is the body of every error that is not a list of problems.
type detail struct {
	Detail string `json:"detail"`
}

// refusal is the body of an error that lists problems.
type refusal struct {
	Detail Problems `json:"detail"`
}

// Problems is every reason why a request was refused.
type Problems []Problem

func (p Problems) Error() string {
	if len(p) == 0 {
		return "invalid request"
	}
	return fmt.Sprintf("%v: %s", p[0].Loc, p[0].Message)
}

// apiError is an answer other than success: a status code and the text of "detail".
type apiError struct {
	status int
	detail string
}

func (e *apiError) Error() string { return e.detail }

func failure(status int, format string, args ...any) error {
	return &apiError{status: status, detail: fmt.Sprintf(format, args...)}
}

// writeError turns whatever a handler returned into the API's error shape: {"detail": text} or {"detail": [problems]}.
// Unforeseen errors are logged and answered without their text, which may hold paths.
func writeError(log *zap.Logger) fiber.ErrorHandler {
	return func(c *fiber.Ctx, err error) error {
		secure(c) // the guard never saw what could not be parsed
		var problems Problems
		if errors.As(err, &problems) {
			return c.Status(http.StatusUnprocessableEntity).JSON(refusal{problems})
		}
		var known *apiError
		if errors.As(err, &known) {
			return c.Status(known.status).JSON(detail{known.detail})
		}
		var routing *fiber.Error
		if errors.As(err, &routing) && routing.Code < http.StatusInternalServerError {
			return writeRoutingError(c, routing.Code)
		}
		if isDiskFull(err) {
			log.Error("the disk of the data folder is full", zap.Error(err))
			return c.Status(http.StatusInsufficientStorage).JSON(detail{"the disk of the data folder is full; make space and send the request again"})
		}
		log.Error("request failed", zap.String("method", c.Method()), zap.String("path", c.Path()), zap.Error(err))
		return c.Status(http.StatusInternalServerError).JSON(detail{"Internal Server Error"})
	}
}

// writeRoutingError answers what reached no handler.
func writeRoutingError(c *fiber.Ctx, status int) error {
	switch status {
	case http.StatusNotFound:
		if path := toggleSlash(c.Path()); isRoute(path) {
			if query := string(c.Context().URI().QueryString()); query != "" {
				path += "?" + query
			}
			return c.Redirect(path, http.StatusTemporaryRedirect)
		}
	case http.StatusRequestEntityTooLarge:
		return c.Status(status).JSON(detail{fmt.Sprintf("body: larger than %s; send less", humanize.IBytes(bodyLimit))})
	case http.StatusRequestHeaderFieldsTooLarge:
		return c.Status(status).JSON(detail{fmt.Sprintf("headers: larger than %s; send less", humanize.IBytes(headerLimit))})
	}
	return c.Status(status).JSON(detail{http.StatusText(status)})
}

// toggleSlash adds a slash at the end of a path, or takes it away.
func toggleSlash(path string) string {
	if shorter, ok := strings.CutSuffix(path, "/"); ok {
		return shorter
	}
	return path + "/"
}

// isRoute tells whether a path, under any method, is in the table.
func isRoute(path string) bool {
	return slices.ContainsFunc(routes, func(r Route) bool { return matches(r.Path, path) })
}

// matches tells whether a path is one of a route's.
func matches(pattern, path string) bool {
	return slices.EqualFunc(strings.Split(pattern, "/"), strings.Split(path, "/"), func(want, got string) bool {
		return want == got || strings.HasPrefix(want, ":") && got != ""
	})
}

// isDiskFull also knows the error of the database, which comes as text.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || strings.Contains(err.Error(), "disk is full")
}
