package trial

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJSON(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		switch request.URL.Path {
		case "/echo":
			assert.Equal(t, "application/json", request.Header.Get("Content-Type"))
			assert.Equal(t, "Bearer x", request.Header.Get("Authorization"))
			_, _ = w.Write(body)
		case "/text":
			_, _ = w.Write([]byte("no JSON"))
		default:
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte("short and stout"))
		}
	}))
	defer server.Close()
	header := http.Header{"Authorization": {"Bearer x"}}
	var reply struct{ A int }
	require.NoError(t, JSON(t.Context(), "POST", server.URL+"/echo", header, map[string]int{"a": 3}, &reply))
	assert.Equal(t, 3, reply.A)
	assert.Len(t, header, 1, "the caller's header stays as it is")
	assert.NoError(t, JSON(t.Context(), "GET", server.URL+"/text", nil, nil, nil))
	assert.ErrorContains(t, JSON(t.Context(), "GET", server.URL+"/text", nil, nil, &reply), "no JSON")
	assert.ErrorContains(t, JSON(t.Context(), "GET", server.URL+"/pot", nil, nil, nil), "GET /pot: 418 I'm a teapot: short and stout")
}

func TestFreeAddress(t *testing.T) {
	address, err := FreeAddress()
	require.NoError(t, err)
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	assert.NoError(t, listener.Close())
}

func TestWorkspaceAndModel(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll("source/transformer", 0o755))
	require.NoError(t, os.WriteFile("source/transformer/config.json", []byte(`{"num_layers": 8, "keep": "x"}`), 0o644))
	require.NoError(t, os.MkdirAll("out/old", 0o755))
	out, source := "out", "source"
	require.NoError(t, Workspace(&out, &source))
	assert.NoDirExists(t, out)
	assert.True(t, filepath.IsAbs(out) && filepath.IsAbs(source))

	program := filepath.Join(t.TempDir(), "stepd")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" > arguments\n"), 0o755))
	require.NoError(t, MakeModel(program, source, filepath.Join(out, "model"), map[string]int{"num_layers": 1}))
	config, err := os.ReadFile(filepath.Join(out, "model", "transformer", "config.json"))
	require.NoError(t, err)
	assert.JSONEq(t, `{"num_layers": 1, "keep": "x"}`, string(config))
	arguments, err := os.ReadFile("arguments")
	require.NoError(t, err)
	assert.Contains(t, string(arguments), "init-model pixart --config "+filepath.Join(out, "model", "transformer", "config.json"))

	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\necho broken; exit 1\n"), 0o755))
	assert.ErrorContains(t, MakeModel(program, source, filepath.Join(out, "other"), nil), "broken")
}
