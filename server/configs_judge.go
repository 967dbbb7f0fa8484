package server

import (
	"errors"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/configs"
)

// finding is one thing wrong with a configuration; the message names the field as well.
type finding struct{ field, message string }

// verdict is what there is to say about a configuration.
type verdict struct {
	errors []finding
	// deferred are errors that do not keep it from being stored: what is missing now may be there when a training starts.
	deferred              []finding
	warnings, suggestions []string
}

// judge says what is wrong with a configuration.
func (s *Server) judge(kind configs.Kind, config any) *verdict {
	object, _ := config.(map[string]any)
	switch kind {
	case configs.Webhook:
		return judgeWebhook(object)
	case configs.Lycoris:
		return judgeLycoris(object)
	}
	return &verdict{}
}

// refusal is the 422 answer that lists every error, or nil.
func (v *verdict) refusal(config any) error {
	if len(v.errors) == 0 {
		return nil
	}
	object, _ := config.(map[string]any)
	problems := make(Problems, len(v.errors))
	for i, f := range v.errors {
		problems[i] = Problem{Type: "value_error", Loc: []any{"body", "config", f.field}, Message: "Value error, " + f.message, Input: object[f.field]}
	}
	return problems
}

func (v *verdict) report() fiber.Map {
	all := append(texts(v.errors), texts(v.deferred)...)
	return fiber.Map{"is_valid": len(all) == 0, "errors": all, "warnings": list(v.warnings), "suggestions": list(v.suggestions)}
}

// advice is the "validation" of a configuration that was stored.
func (v *verdict) advice(notes []string) fiber.Map {
	return fiber.Map{"warnings": append(append(texts(v.deferred), v.warnings...), notes...), "suggestions": list(v.suggestions)}
}

func texts(findings []finding) []string {
	all := make([]string, len(findings))
	for i, f := range findings {
		all[i] = f.message
	}
	return all
}

// list is never null in JSON.
func list(items []string) []string { return append([]string{}, items...) }

func isBroken(err error) bool { return errors.Is(err, configs.ErrBroken) }

func isNotFound(err error) bool { return errors.Is(err, configs.ErrNotFound) }
