package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// document is /openapi.json, read and checked by an independent implementation of the standard.
func document(t *testing.T, s *Server) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(s.document)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(context.Background(), openapi3.EnableExamplesValidation()))
	return doc
}

func TestDocumentIsValid(t *testing.T) {
	doc := document(t, New(Options{}))
	assert.Equal(t, "3.1.0", doc.OpenAPI)
	assert.Equal(t, "stepd", doc.Info.Title)
	ids := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			assert.False(t, ids[operation.OperationID], "operation id %s of %s %s is taken", operation.OperationID, method, path)
			ids[operation.OperationID] = true
			assert.NotEmpty(t, operation.Summary, "%s %s", method, path)
			for _, tag := range operation.Tags {
				assert.NotNil(t, doc.Tags.Get(tag), "tag %s of %s %s is described", tag, method, path)
			}
			for _, p := range operation.Parameters {
				assert.NotEmpty(t, p.Value.Description, "%s of %s %s", p.Value.Name, method, path)
			}
		}
	}
}

// The document, the table and what fiber really serves are the same.
func TestDocumentNamesWhatIsServed(t *testing.T) {
	s := New(Options{})
	var documented, served, tabled []string
	for path, item := range document(t, s).Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	hidden := map[string]bool{}
	for _, route := range routes {
		tabled = append(tabled, route.Method+" "+documentPath(route.Path))
		hidden[documentPath(route.Path)] = route.Tag == tagPages
	}
	for _, route := range s.app.GetRoutes(true) { // without middleware
		if route.Method != http.MethodHead {
			served = append(served, route.Method+" "+documentPath(route.Path))
		}
	}
	assert.ElementsMatch(t, tabled, served)
	visible := slices.DeleteFunc(slices.Clone(tabled), func(line string) bool { return hidden[line[strings.Index(line, "/"):]] })
	assert.ElementsMatch(t, visible, documented)
}

// Every example request of the document is one that its own schema takes.
func TestExampleRequests(t *testing.T) {
	doc := document(t, New(Options{}))
	router, err := gorillamux.NewRouter(doc)
	require.NoError(t, err)
	checked := 0
	for _, route := range routes {
		body := route.Spec.Body
		if body.Example == nil || !slices.Contains(body.Media, mediaJSON) {
			continue
		}
		checked++
		raw, err := json.Marshal(body.Example)
		require.NoError(t, err)
		request := httptest.NewRequest(route.Method, "http://localhost"+route.concrete(), bytes.NewReader(raw))
		request.Header.Set("Content-Type", mediaJSON)
		found, parameters, err := router.FindRoute(request)
		require.NoError(t, err, "%s %s", route.Method, route.Path)
		assert.NoError(t, openapi3filter.ValidateRequest(context.Background(), &openapi3filter.RequestValidationInput{
			Request: request, PathParams: parameters, Route: found,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
		}), "%s %s", route.Method, route.Path)
	}
	assert.Positive(t, checked)
}
