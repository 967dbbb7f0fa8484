package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var contract = sync.OnceValues(func() (routers.Router, error) {
	openapi3filter.RegisterBodyDecoder(mediaHTML, openapi3filter.PlainBodyDecoder)
	openapi3filter.RegisterBodyDecoder(mediaEvents, openapi3filter.PlainBodyDecoder)
	doc, err := openapi3.NewLoader().LoadFromData(New(Options{}).document)
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// documented checks an answer against /openapi.json: its status, its content type and its schema.
func documented(t testing.TB, method, path string, r reply) {
	t.Helper()
	router, err := contract()
	require.NoError(t, err)
	request := httptest.NewRequest(method, "http://localhost"+path, nil)
	route, parameters, err := router.FindRoute(request)
	if err != nil || r.status == http.StatusMethodNotAllowed || r.status == 307 {
		return // what is no route is not documented
	}
	assert.NoError(t, openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, PathParams: parameters, Route: route},
		Status:                 r.status, Header: r.header, Body: io.NopCloser(bytes.NewReader([]byte(r.body))),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}), "undocumented: %s %s answers %d %s", method, path, r.status, strings.TrimSpace(clip(r.body)))
}
