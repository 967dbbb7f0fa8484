package server

import (
	"context"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/notify"
)

var getReceiversSpec = answers(Answer{Status: http.StatusOK, Doc: "the receivers, in the order of the job",
	Example: map[string]any{"session_id": "ab12cd34", "receivers": []notify.Status{}}})

// getReceivers answers how far each webhook of a session has got. It names hosts only; the rest of a URL may be secret.
func (s *Server) getReceivers(c *fiber.Ctx) error {
	session, err := s.session(c, "")
	if err != nil {
		return err
	}
	receivers := []notify.Status{}
	if s.options.Receivers != nil {
		if receivers, err = s.options.Receivers(context.Background(), session); err != nil {
			return err
		}
	}
	return c.JSON(fiber.Map{"session_id": session.ID(), "receivers": receivers})
}
