package server

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"
)

// Problem is one entry of a 422 answer, in the shape that FastAPI clients parse.
type Problem struct {
	Type    string         `json:"type"`
	Loc     []any          `json:"loc"` // "body", "query" or "path", then the way to the field
	Message string         `json:"msg"`
	Input   any            `json:"input"`
	Context map[string]any `json:"ctx,omitempty"`
}

// detail is the body of every error that is not a list of problems.
type detail struct {
	Detail string `json:"detail"`
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
		var problems Problems
		if errors.As(err, &problems) {
			return c.Status(http.StatusUnprocessableEntity).JSON(fiber.Map{"detail": problems})
		}
		var known *apiError
		if errors.As(err, &known) {
			return c.Status(known.status).JSON(fiber.Map{"detail": known.detail})
		}
		var routing *fiber.Error
		if errors.As(err, &routing) && routing.Code < http.StatusInternalServerError {
			return c.Status(routing.Code).JSON(fiber.Map{"detail": http.StatusText(routing.Code)})
		}
		if isDiskFull(err) {
			log.Error("the disk of the data folder is full", zap.Error(err))
			return c.Status(http.StatusInsufficientStorage).JSON(fiber.Map{"detail": "the disk of the data folder is full; make space and send the request again"})
		}
		log.Error("request failed", zap.String("method", c.Method()), zap.String("path", c.Path()), zap.Error(err))
		return c.Status(http.StatusInternalServerError).JSON(fiber.Map{"detail": "Internal Server Error"})
	}
}

// isDiskFull also knows the error of the database, which comes as text.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || strings.Contains(err.Error(), "disk is full")
}
