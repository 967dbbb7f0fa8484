package server

import (
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/require"
)

func TestReadGrant(t *testing.T) {
	tests := []struct {
		name, body string
		kind       string // of the first problem; empty: accepted
		field      string
	}{
		{"a number", `{"steps": 3}`, "", ""},
		{"with a timeout", `{"steps": 3, "timeout": 0.5}`, "", ""},
		{"a string that spells a number", `{"steps": "3"}`, "", ""},
		{"a whole float", `{"steps": 3.0}`, "", ""},
		{"null timeout", `{"steps": 3, "timeout": null}`, "", ""},
		{"zero", `{"steps": 0}`, "greater_than", "steps"},
		{"negative", `{"steps": -1}`, "greater_than", "steps"},
		{"a fraction", `{"steps": 1.5}`, "int_from_float", "steps"},
		{"a word", `{"steps": "x"}`, "int_parsing", "steps"},
		{"too large", `{"steps": 1e300}`, "int_parsing_size", "steps"},
		{"a bool", `{"steps": true}`, "int_type", "steps"},
		{"a list", `{"steps": [1]}`, "int_type", "steps"},
		{"missing", `{}`, "missing", "steps"},
		{"null", `{"steps": null}`, "missing", "steps"},
		{"negative timeout", `{"steps": 1, "timeout": -1}`, "greater_than_equal", "timeout"},
		{"timeout as a word", `{"steps": 1, "timeout": "soon"}`, "float_parsing", "timeout"},
		{"timeout not finite", `{"steps": 1, "timeout": "NaN"}`, "float_parsing", "timeout"},
		{"no body", ``, "json_invalid", ""},
		{"broken", `{"steps": `, "json_invalid", ""},
		{"two values", `{"steps": 1}{}`, "json_invalid", ""},
		{"duplicate key", `{"steps": 1, "steps": 2}`, "json_invalid", ""},
		{"not UTF-8", "{\"steps\": \"\xff\"}", "json_invalid", ""},
		{"a list as body", `[1]`, "model_attributes_type", ""},
		{"deep", strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "json_invalid", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			steps, _, err := readGrant([]byte(test.body))
			if test.kind == "" {
				require.NoError(t, err)
				require.Equal(t, int64(3), steps)
				return
			}
			var problems Problems
			require.ErrorAs(t, err, &problems)
			require.Equal(t, test.kind, problems[0].Type)
			if test.field != "" {
				require.Equal(t, []any{"body", test.field}, problems[0].Loc)
			}
		})
	}
}

func TestAllowedHost(t *testing.T) {
	s := &Server{options: Options{Hosts: []string{"train.example.org"}}}
	for host, allowed := range map[string]bool{
		"localhost:8000": true, "localhost": true, "127.0.0.1:8001": true, "127.3.2.1": true, "[::1]:8000": true, "::1": true,
		"train.example.org:80": true, "TRAIN.example.org": true,
		"evil.example.org": false, "10.0.0.1:8000": false, "localhost.evil.org": false, "": false, "127.0.0.1.evil.org": false,
	} {
		require.Equal(t, allowed, s.allowedHost(host), host)
	}
}

func TestErrorsOfHandlers(t *testing.T) {
	tests := []struct {
		name   string
		fail   func() error
		status int
		body   string
	}{
		{"unforeseen", func() error { return errors.New("secret path") }, 500, `{"detail": "Internal Server Error"}`},
		{"panic", func() error { panic("secret") }, 500, `{"detail": "Internal Server Error"}`},
		{"known", func() error { return fmt.Errorf("wrapped: %w", failure(418, "a %s", "teapot")) }, 418, `{"detail": "a teapot"}`},
		{"full disk", func() error { return fmt.Errorf("write: %w", syscall.ENOSPC) }, 507,
			`{"detail": "the disk of the data folder is full; make space and send the request again"}`},
		{"full database", func() error { return errors.New("database or disk is full (13)") }, 507,
			`{"detail": "the disk of the data folder is full; make space and send the request again"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := New(Options{})
			s.app.Get("/fails", func(*fiber.Ctx) error { return test.fail() })
			request := httptest.NewRequest("GET", "/fails", nil)
			request.Host = "localhost"
			response, err := s.app.Test(request)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.Equal(t, test.status, response.StatusCode)
			require.JSONEq(t, test.body, string(body))
		})
	}
}

func FuzzParseStrict(f *testing.F) {
	f.Add([]byte(`{"a": [1, {"b": null}], "c": "d"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseStrict(data)
	})
}

func TestAByteOrderMarkIsNamed(t *testing.T) {
	_, err := readBody([]byte("\ufeff{\"steps\": 3}"))
	require.ErrorContains(t, err, "begins with a byte order mark")
}
