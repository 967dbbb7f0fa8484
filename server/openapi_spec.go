package server

import "github.com/stepd/stepd/sessions/job"

// Spec says what a route takes and answers. It stands next to the route's handler; what all routes share (refused hosts and
// tokens, unknown ids, malformed fields) is added when the OpenAPI document is made.
type Spec struct {
	Query   []Field
	Headers []Field
	Body    Body
	Answers []Answer
}

// Field is one named value of a request.
type Field struct {
	Name     string
	Kind     job.Kind // empty: text
	Doc      string
	Required bool
	Default  any
	Min, Max float64 // of numbers; Min == Max: unbounded
	Choices  []string
}

// Body is the body of a request; the zero value is none.
type Body struct {
	// Name of its schema in the document; empty: it is written where it is used.
	Name string
	// Media are the content types that are read: mediaJSON, or mediaForm and mediaMultipart.
	Media  []string
	Fields []Field
	// Open bodies may have other fields too.
	Open bool
	// Example is a body that would be accepted; tests check it against the fields.
	Example map[string]any
}

// Answer is one answer of a route.
type Answer struct {
	Status int
	Media  string // of text; empty: JSON, or no body when there is no Example either
	Doc    string
	// Example is what JSON answers look like. Their schema is that of its Go type; a map of any stands for its keys.
	Example any
}

// Content types.
const (
	mediaJSON      = "application/json"
	mediaForm      = "application/x-www-form-urlencoded"
	mediaMultipart = "multipart/form-data"
	mediaHTML      = "text/html"
	mediaText      = "text/plain"
	mediaScript    = "text/javascript"
	mediaStyles    = "text/css"
	mediaEvents    = "text/event-stream"
)

// largestInteger bounds whole numbers in requests: every JSON parser keeps integers up to here exact.
const largestInteger = 1 << 53

// answers is the Spec of a route that takes nothing.
func answers(all ...Answer) Spec { return Spec{Answers: all} }
