package server

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// part is one part of a multipart body.
type part struct{ name, file, value string }

func multipartOf(t *testing.T, parts ...part) (kind, body string) {
	t.Helper()
	var data bytes.Buffer
	writer := multipart.NewWriter(&data)
	for _, p := range parts {
		create := func() (w interface{ Write([]byte) (int, error) }, err error) { return writer.CreateFormField(p.name) }
		if p.file != "" {
			create = func() (w interface{ Write([]byte) (int, error) }, err error) {
				return writer.CreateFormFile(p.name, p.file)
			}
		}
		w, err := create()
		require.NoError(t, err)
		_, err = w.Write([]byte(p.value))
		require.NoError(t, err)
	}
	require.NoError(t, writer.Close())
	return writer.FormDataContentType(), data.String()
}

// echo returns what sends a request to a route that answers the fields of its form.
func echo(t *testing.T) func(kind, body string) reply {
	s := New(Options{})
	s.add(Route{Method: http.MethodPost, Path: "/echo", Access: Token, Handle: func(_ *Server, c *fiber.Ctx) error {
		fields, err := readForm(c)
		if err != nil {
			return err
		}
		return c.JSON(fields)
	}})
	return func(kind, body string) reply {
		request := httptest.NewRequest("POST", "/echo", strings.NewReader(body))
		request.Host = "localhost"
		request.Header.Set("Content-Type", kind)
		response, err := s.app.Test(request, int(testTimeout.Milliseconds()))
		require.NoError(t, err)
		data, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return reply{response.StatusCode, response.Header, string(data)}
	}
}

func TestForms(t *testing.T) {
	send := echo(t)
	kind, body := multipartOf(t, part{"--seed", "", "1"}, part{"--seed", "", "2"}, part{"prompt", "", "ein Löwe & <b>"})
	for name, test := range map[string]struct{ kind, body, fields string }{
		"nothing":        {"", "", `{}`},
		"multipart":      {kind, body, `{"--seed":["1","2"],"prompt":["ein Löwe & <b>"]}`},
		"urlencoded":     {mediaForm, "--seed=1&--seed=2&prompt=ein+L%C3%B6we+%26+%3Cb%3E&&flag", `{"--seed":["1","2"],"prompt":["ein Löwe & <b>"],"flag":[""]}`},
		"with a charset": {mediaForm + "; charset=utf-8", "a=b", `{"a":["b"]}`},
		"JSON":           {mediaJSON, `{"a":"text","b":1e-05,"c":true,"d":[1,2],"e":null}`, `{"a":["text"],"b":["1e-05"],"c":["true"],"d":["[1,2]"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			r := send(test.kind, test.body)
			require.Equal(t, http.StatusOK, r.status, r.body)
			assert.JSONEq(t, test.fields, r.body)
		})
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	send := echo(t)
	kind, file := multipartOf(t, part{"--webhook_config", "hooks.json", "[]"})
	_, large := multipartOf(t, part{"--note", "", strings.Repeat("x", fieldValue+1)})
	many := strings.Repeat("a=b&", formFields+1)
	for name, test := range map[string]struct{ kind, body, field, message string }{
		"a file":                   {kind, file, "--webhook_config", "is a file"},
		"a long value":             {multipartKind(large), large, "--note", "262145 bytes"},
		"many fields":              {mediaForm, many, "", "more than 1000 fields"},
		"a nameless field":         {mediaForm, "=1", "", "is no name of a field"},
		"a long name":              {mediaForm, strings.Repeat("n", 201) + "=1", strings.Repeat("n", 200), "is no name of a field"},
		"broken escapes":           {mediaForm, "a=%zz", "", "invalid URL escape"},
		"not UTF-8":                {mediaForm, "seed=%ff", "seed", "is not text in UTF-8"},
		"a NUL":                    {mediaForm, "seed=%00", "seed", "is not text in UTF-8"},
		"an unknown type":          {"text/csv", "a,b", "", "text/csv is not read"},
		"no type":                  {"", "a=b", "", "Content-Type"},
		"no boundary":              {mediaMultipart, "x", "", "names no boundary"},
		"an endless part":          {mediaMultipart + "; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1", "", "not well-formed"},
		"broken JSON":              {mediaJSON, `{"a":`, "", "JSON decode error"},
		"a JSON list":              {mediaJSON, `[1]`, "", "not an object"},
		"a key twice in an object": {mediaJSON, `{"a":1,"a":2}`, "", "appears twice"},
	} {
		t.Run(name, func(t *testing.T) {
			r := send(test.kind, test.body)
			answer := read[struct{ Detail Problems }](t, r, http.StatusUnprocessableEntity)
			require.NotEmpty(t, answer.Detail)
			assert.Contains(t, answer.Detail[0].Message, test.message)
			if test.field != "" {
				assert.Equal(t, []any{"body", test.field}, answer.Detail[0].Loc)
			}
		})
	}
}

// multipartKind is the content type that fits a body.
func multipartKind(body string) string {
	boundary, _, _ := strings.Cut(strings.TrimPrefix(body, "--"), "\r\n")
	return fmt.Sprintf("%s; boundary=%s", mediaMultipart, boundary)
}
