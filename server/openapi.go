package server

import (
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// apiVersion is info.version: the one that SimpleTuner's own document carries.
const apiVersion = "0.1.0"

var tagDocs = []object{
	{"name": tagServer, "description": "the server itself"},
	{"name": tagSessions, "description": "AI-Toolkit's API: sessions are granted steps and train until these are used up"},
	{"name": tagTraining, "description": "SimpleTuner's API: jobs are started with their whole length"},
	{"name": tagConfigurations, "description": "SimpleTuner's API: environments, files of options that jobs start from"},
}

// pathDocs describes the parameters of paths.
var pathDocs = map[string]string{
	"id":   "id of the session",
	"name": "name of the environment, file or checkpoint",
}

var openAPISpec = answers(Answer{Status: http.StatusOK, Doc: "this document", Example: object(nil)})

func (s *Server) getOpenAPI(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, mediaJSON)
	return c.Send(s.document)
}

// openAPI describes the routes as an OpenAPI 3.1 document. It is made from the table by a hundred lines instead of a
// framework such as huma, because handlers must parse and fail exactly as two existing APIs do, forms and streams included.
func openAPI(routes []Route) ([]byte, error) {
	named := schemas{}
	paths := map[string]object{}
	for _, route := range routes {
		if route.Tag == tagPages {
			continue
		}
		path := documentPath(route.Path)
		if paths[path] == nil {
			paths[path] = object{}
		}
		paths[path][strings.ToLower(route.Method)] = operation(route, named)
	}
	return json.Marshal(object{
		"openapi": "3.1.0",
		"info":    object{"title": "stepd", "version": apiVersion, "description": "A training server for diffusion transformers."},
		"tags":    tagDocs,
		"paths":   paths,
		"components": object{
			"schemas": named,
			"securitySchemes": object{
				"token": object{"type": "http", "scheme": "bearer", "description": "the token of the file token in the data folder"},
				"key":   object{"type": "apiKey", "in": "header", "name": keyHeader, "description": "the same token, as SimpleTuner's clients send it"},
			},
		},
	})
}

// documentPath spells a path of fiber as OpenAPI does: ":name" is "{name}".
func documentPath(path string) string {
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			segments[i] = "{" + name + "}"
		}
	}
	return strings.Join(segments, "/")
}

func pathParameters(path string) (names []string) {
	for _, segment := range strings.Split(path, "/") {
		if name, ok := strings.CutPrefix(segment, ":"); ok {
			names = append(names, name)
		}
	}
	return names
}

func operation(route Route, named schemas) object {
	o := object{
		"tags":        []string{route.Tag},
		"summary":     route.Summary,
		"operationId": operationID(route),
		"responses":   responses(route, named),
	}
	if all := parameters(route); len(all) > 0 {
		o["parameters"] = all
	}
	if route.Access == Token {
		o["security"] = []object{{"token": []string{}}, {"key": []string{}}}
	}
	if body := route.Spec.Body; len(body.Media) > 0 {
		schema, content := named.ofBody(body), object{}
		for _, media := range body.Media {
			described := object{"schema": schema}
			if body.Example != nil {
				described["example"] = body.Example
			}
			content[media] = described
		}
		required := slices.ContainsFunc(body.Fields, func(f Field) bool { return f.Required })
		o["requestBody"] = object{"content": content, "required": required}
	}
	return o
}

func operationID(route Route) string {
	words := strings.FieldsFunc(route.Path, func(r rune) bool { return strings.ContainsRune("/:-.", r) })
	return strings.Join(append([]string{strings.ToLower(route.Method)}, words...), "_")
}

func parameters(route Route) []object {
	var all []object
	for _, name := range pathParameters(route.Path) {
		all = append(all, object{"name": name, "in": "path", "required": true, "description": pathDocs[name], "schema": object{"type": "string"}})
	}
	add := func(place string, fields []Field) {
		for _, f := range fields {
			s := f.schema()
			delete(s, "description")
			all = append(all, object{"name": f.Name, "in": place, "required": f.Required, "description": f.Doc, "schema": s})
		}
	}
	add("query", route.Spec.Query)
	add("header", route.Spec.Headers)
	return all
}

// sharedAnswers are the refusals that no handler decides alone.
func sharedAnswers(route Route) []Answer {
	all := []Answer{{Status: http.StatusForbidden, Doc: "the Host or Origin header names a host that is not served", Example: detail{}}}
	if route.Access == Token {
		all = append(all, Answer{Status: http.StatusUnauthorized, Doc: "the token is missing or wrong", Example: detail{}})
	}
	if len(pathParameters(route.Path)) > 0 {
		all = append(all, Answer{Status: http.StatusNotFound, Doc: "no such thing", Example: detail{}})
	}
	if len(route.Spec.Body.Media) > 0 {
		all = append(all, Answer{Status: http.StatusRequestEntityTooLarge, Doc: "the body is too large", Example: detail{}})
	}
	if len(route.Spec.Query) > 0 || slices.Contains(route.Spec.Body.Media, mediaJSON) {
		all = append(all, Answer{Status: http.StatusUnprocessableEntity, Doc: "every field that has the wrong form", Example: refusal{}})
	}
	return all
}

// responses documents the answers of a route. Where a status can have several bodies, any of them may come.
func responses(route Route, named schemas) object {
	all := object{}
	for _, answer := range append(slices.Clone(route.Spec.Answers), sharedAnswers(route)...) {
		code := strconv.Itoa(answer.Status)
		response, started := all[code].(object)
		if !started {
			response = object{"description": answer.Doc, "content": object{}}
			all[code] = response
		}
		media, schema := answer.content(named)
		content := response["content"].(object)
		before, _ := content[media].(object)
		switch {
		case media == "" || reflect.DeepEqual(before, object{"schema": schema}):
			continue
		case before == nil:
			content[media] = object{"schema": schema}
		default:
			content[media] = object{"schema": object{"anyOf": []any{before["schema"], schema}}}
		}
		if started {
			response["description"] = response["description"].(string) + "; or " + answer.Doc
		}
	}
	return all
}

// content is the type and the schema of the body of an answer; no type means no body.
func (a Answer) content(named schemas) (media string, schema object) {
	switch {
	case a.Media != "":
		return a.Media, object{"type": "string"}
	case a.Example != nil:
		return mediaJSON, named.of(a.Example)
	}
	return "", nil
}
