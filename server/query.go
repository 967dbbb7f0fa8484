package server

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/job"
)

// checkQuery refuses parameters that are not what the table says, before any handler sees them, all problems at once.
func checkQuery(c *fiber.Ctx, fields []Field) error {
	var problems Problems
	for _, f := range fields {
		kind, message, context := f.problem(c.Query(f.Name))
		if kind != "" {
			problems = append(problems, Problem{Type: kind, Loc: []any{"query", f.Name}, Message: message, Input: c.Query(f.Name), Context: context})
		}
	}
	if problems != nil {
		return problems
	}
	return nil
}

// problem says what is wrong with the text of a parameter, in the words of Pydantic; kind is empty when nothing is. Without
// text the parameter is absent.
func (f Field) problem(text string) (kind, message string, context map[string]any) {
	switch {
	case text == "" && f.Required:
		return "missing", "Field required", nil
	case text == "":
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string", nil
	case len(f.Choices) > 0:
		return f.choiceProblem(text)
	case f.Kind == job.Bool:
		if _, ok := parseFlag(text); !ok {
			return "bool_parsing", "Input should be a valid boolean, unable to interpret input", nil
		}
	case f.Kind == job.Int:
		return f.integerProblem(text)
	case f.Kind == job.Float:
		return f.numberProblem(text)
	}
	return "", "", nil
}

func (f Field) choiceProblem(text string) (kind, message string, context map[string]any) {
	for _, choice := range f.Choices {
		if text == choice {
			return "", "", nil
		}
	}
	expected := "'" + strings.Join(f.Choices, "', '") + "'"
	return "enum", "Input should be one of " + expected, map[string]any{"expected": expected}
}

func (f Field) integerProblem(text string) (kind, message string, context map[string]any) {
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return "int_parsing", "Input should be a valid integer, unable to parse string as an integer", nil
	case f.Min == f.Max:
	case n < int64(f.Min):
		return "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %.0f", f.Min), map[string]any{"ge": int64(f.Min)}
	case n > int64(f.Max):
		return "less_than_equal", fmt.Sprintf("Input should be less than or equal to %.0f", f.Max), map[string]any{"le": int64(f.Max)}
	}
	return "", "", nil
}

func (f Field) numberProblem(text string) (kind, message string, context map[string]any) {
	x, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(x):
		return "float_parsing", "Input should be a valid number, unable to parse string as a number", nil
	case f.Min == f.Max:
	case x < f.Min:
		return "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %g", f.Min), map[string]any{"ge": f.Min}
	case x > f.Max:
		return "less_than_equal", fmt.Sprintf("Input should be less than or equal to %g", f.Max), map[string]any{"le": f.Max}
	}
	return "", "", nil
}

// queryFloat is a parameter of which the table says that it is a number.
func queryFloat(c *fiber.Ctx, name string, fallback float64) float64 {
	if x, err := strconv.ParseFloat(c.Query(name), 64); err == nil {
		return x
	}
	return fallback
}

// queryInt is a parameter of which the table says that it is a whole number.
func queryInt(c *fiber.Ctx, name string, fallback int64) int64 {
	if n, err := strconv.ParseInt(c.Query(name), 10, 64); err == nil {
		return n
	}
	return fallback
}

// lastEventID is where a client continues a broken stream; 0: at the beginning.
func lastEventID(c *fiber.Ctx) int64 {
	last, _ := lastEvent(c)
	return last
}

// lastEvent is the number that a client of a broken stream had last, if it says one.
func lastEvent(c *fiber.Ctx) (last int64, said bool) {
	last, err := strconv.ParseInt(c.Get("Last-Event-ID"), 10, 64)
	if err != nil || last < 0 {
		return 0, false
	}
	return min(last, largestInteger), true
}
