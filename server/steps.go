package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
)

// grantResult is the "result" of a grant.
type grantResult struct {
	Granted         int64 `json:"granted"`
	Consumed        bool  `json:"consumed"`
	TimedOut        bool  `json:"timed_out"`
	AlreadyFinished bool  `json:"already_finished"`
}

var grantStepsSpec = Spec{
	Headers: []Field{{Name: "Idempotency-Key", Kind: job.Text, Doc: "a repeated request with this key and the same steps adds nothing"}},
	Body: Body{Media: []string{mediaJSON}, Open: true,
		Fields: []Field{
			{Name: "steps", Kind: job.Int, Required: true, Min: 1, Max: largestInteger, Doc: "optimizer steps to add to the budget"},
			{Name: "timeout", Kind: job.Float, Max: 1e9, Doc: "seconds to wait for the answer; default: until the steps are trained"},
		},
		Example: map[string]any{"steps": 100, "timeout": 30},
	},
	Answers: []Answer{
		{Status: http.StatusOK, Doc: "what was granted, and the state of the session", Example: grantAnswer{}},
		{Status: http.StatusBadRequest, Doc: "the budget cannot grow by this", Example: detail{}},
	},
}

// grantAnswer is the answer to a grant.
type grantAnswer struct {
	Result grantResult `json:"result"`
	Status status      `json:"status"`
}

// grantSteps adds steps to the budget and answers when they are trained and in a checkpoint, when the session stops, or
// after "timeout" seconds. The header Idempotency-Key makes a repeated request add nothing.
func (s *Server) grantSteps(c *fiber.Ctx) error {
	session, err := s.session(c, sessionNotFound)
	if err != nil {
		return err
	}
	steps, timeout, err := readGrant(c.Body())
	if err != nil {
		return err
	}
	grant, err := session.Grant(context.Background(), sessions.GrantRequest{Steps: steps, Key: c.Get("Idempotency-Key")})
	switch {
	case errors.Is(err, sessions.ErrNotFound):
		return failure(http.StatusNotFound, sessionNotFound)
	case errors.Is(err, sessions.ErrBadGrant):
		return failure(http.StatusBadRequest, "steps: %v", err)
	case errors.Is(err, sessions.ErrKeyReused):
		return Problems{{Type: "value_error", Loc: []any{"header", "Idempotency-Key"}, Message: "Idempotency-Key: " + err.Error(), Input: c.Get("Idempotency-Key")}}
	case errors.Is(err, sessions.ErrClosed):
		return failure(http.StatusServiceUnavailable, "%v", err)
	case err != nil:
		return err
	}
	if grant.AlreadyFinished || grant.Granted == 0 {
		return answerGrant(c, grantResult{AlreadyFinished: grant.AlreadyFinished}, session.Snapshot())
	}
	ctx, cancel := s.until()
	defer cancel()
	if timeout != nil {
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	ended := session.WaitGrant(ctx, grant)
	return answerGrant(c, grantResult{
		Granted: grant.Granted, Consumed: ended.Consumed, TimedOut: ended.TimedOut, AlreadyFinished: ended.Finished,
	}, ended.Snapshot)
}

func answerGrant(c *fiber.Ctx, result grantResult, snapshot sessions.Snapshot) error {
	return c.JSON(grantAnswer{Result: result, Status: statusOf(snapshot)})
}

func readGrant(raw []byte) (int64, *time.Duration, error) {
	b, err := readBody(raw)
	if err != nil {
		return 0, nil, err
	}
	var steps int64
	if value, ok := b.require("steps"); ok {
		if steps, ok = b.integer("steps", value); ok && steps <= 0 {
			b.add("greater_than", "steps", "Input should be greater than 0", value, map[string]any{"gt": 0})
		}
	}
	var timeout *time.Duration
	if _, value := b.take("timeout"); value != nil {
		seconds, ok := b.number("timeout", value)
		if ok && seconds < 0 {
			b.add("greater_than_equal", "timeout", "Input should be greater than or equal to 0", value, map[string]any{"ge": 0})
		}
		limited := time.Duration(min(seconds, 1e9) * float64(time.Second))
		timeout = &limited
	}
	return steps, timeout, b.err()
}
