package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/worker"
)

// testTimeout only bounds tests that would hang.
const testTimeout = time.Minute

// api is a server with the fake engine, on a port of its own, and a client of it.
type api struct {
	t       testing.TB
	server  *Server
	address string
	// files has the model folder and the pictures of the jobs.
	files *job.Job
	// stop ends the server; the end of the test does so too.
	stop func()
}

func serve(t testing.TB, options Options) *api { return serveWith(t, options, &fake.Engine{}) }

func serveWith(t testing.TB, options Options, e engine.Engine) *api {
	t.Helper()
	return serveIn(t, t.TempDir(), options, e)
}

// serveIn serves a folder, which another server may serve after stop.
func serveIn(t testing.TB, dir string, options Options, e engine.Engine) *api {
	t.Helper()
	manager, err := sessions.Open(context.Background(), sessions.Options{DataDir: filepath.Join(dir, "data"), Launcher: worker.Local{Engine: e}})
	require.NoError(t, err)
	options.Manager = manager
	if options.Roots.Outputs == "" {
		options.Roots.Outputs = filepath.Join(dir, "output") // where the fixture's jobs write
	}
	if options.Configs == nil {
		options.Configs, err = configs.Open(filepath.Join(dir, "config"))
		require.NoError(t, err)
	}
	listeners, err := Listen([]string{"127.0.0.1:0"})
	require.NoError(t, err)
	a := &api{t: t, server: New(options), address: listeners[0].Addr().String(), files: fixture.Job(t, dir)}
	served := make(chan error, 1)
	go func() { served <- a.server.Serve(listeners) }()
	a.stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
		defer cancel()
		assert.NoError(t, manager.Close(ctx))
		assert.NoError(t, a.server.Shutdown(ctx))
		assert.NoError(t, <-served)
	})
	t.Cleanup(a.stop)
	return a
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// request sends a body, a string as it is and anything else as JSON, with headers given as name and value.
func (a *api) request(method, path string, body any, headers ...string) reply {
	a.t.Helper()
	response := a.open(method, path, body, headers...)
	data, err := io.ReadAll(response.Body)
	require.NoError(a.t, err)
	require.NoError(a.t, response.Body.Close())
	r := reply{response.StatusCode, response.Header, string(data)}
	documented(a.t, method, path, r)
	return r
}

// open sends a request and leaves its answer to be read.
func (a *api) open(method, path string, body any, headers ...string) *http.Response {
	a.t.Helper()
	text, ok := body.(string)
	if !ok && body != nil {
		data, err := json.Marshal(body)
		require.NoError(a.t, err)
		text = string(data)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	a.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+path, strings.NewReader(text))
	require.NoError(a.t, err)
	request.Close = true
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(a.t, err)
	return response
}

// read decodes an answer of the expected status.
func read[T any](t testing.TB, r reply, status int) T {
	t.Helper()
	require.Equal(t, status, r.status, r.body)
	var value T
	require.NoError(t, json.Unmarshal([]byte(r.body), &value), r.body)
	return value
}

// document is the job of AI-Toolkit's clients: 20 steps on the fixture's pictures.
func (a *api) document(name string) map[string]any {
	process := map[string]any{
		"type": "sd_trainer", "training_folder": a.files.Output, "training_seed": 7,
		"model":    map[string]any{"name_or_path": a.files.Engine.Model, "max_sequence_length": 16},
		"datasets": []any{map[string]any{"folder_path": a.files.Datasets[0].Folder, "resolution": 64}},
		"train":    map[string]any{"steps": 20, "batch_size": 2, "lr": 0.1},
		"sample":   map[string]any{"prompts": []any{"a red square"}, "width": 64, "height": 64, "sample_steps": 1},
	}
	return map[string]any{"job": "extension", "config": map[string]any{"name": name, "process": []any{process}}}
}

// create makes a session of this id, with more fields of the request given as name and value.
func (a *api) create(id string, fields ...any) status {
	a.t.Helper()
	body := map[string]any{"sessionId": id, "config": a.document("run-" + id)}
	for i := 0; i < len(fields); i += 2 {
		body[fields[i].(string)] = fields[i+1]
	}
	return read[status](a.t, a.request("POST", "/sessions", body), http.StatusCreated)
}

// granted is the answer to a grant.
type granted struct {
	Result grantResult `json:"result"`
	Status status      `json:"status"`
}

func (a *api) grant(id string, body any, headers ...string) granted {
	a.t.Helper()
	return read[granted](a.t, a.request("POST", "/sessions/"+id+"/steps", body, headers...), http.StatusOK)
}

func (a *api) get(id string) status {
	a.t.Helper()
	return read[status](a.t, a.request("GET", "/sessions/"+id, nil), http.StatusOK)
}

// wait returns the first state of a session for which done is true.
func (a *api) wait(id string, done func(sessions.Snapshot) bool) {
	a.t.Helper()
	session, err := a.server.options.Manager.Session(id)
	require.NoError(a.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	_, err = session.Wait(ctx, done)
	require.NoError(a.t, err)
}

// message is one message of an SSE stream.
type message struct{ id, event, data string }

// readMessages reads messages until one for which last is true, or the end of the stream.
func readMessages(t testing.TB, stream io.Reader, last func(message) bool) (messages []message) {
	t.Helper()
	var m message
	scanner := bufio.NewScanner(stream)
	for scanner.Scan() {
		field, value, _ := bytes.Cut(scanner.Bytes(), []byte(": "))
		switch string(field) {
		case "id":
			m.id = string(value)
		case "event":
			m.event = string(value)
		case "data":
			m.data = string(value)
		case "":
			messages = append(messages, m)
			if last(m) {
				return messages
			}
			m = message{}
		}
	}
	require.NoError(t, scanner.Err())
	return messages
}

func TestClientLeft(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { assert.NoError(t, listener.Close()) }()
	client, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	conn, err := listener.Accept()
	require.NoError(t, err)
	require.False(t, clientLeft(conn), "silent")
	_, err = client.Write([]byte("GET"))
	require.NoError(t, err)
	require.False(t, clientLeft(conn), "with something to read")
	data := make([]byte, 3)
	_, err = io.ReadFull(conn, data)
	require.NoError(t, err)
	require.Equal(t, "GET", string(data), "nothing is taken")
	require.NoError(t, client.Close())
	_, err = conn.Read(data)
	require.ErrorIs(t, err, io.EOF)
	require.True(t, clientLeft(conn))
	require.NoError(t, conn.Close())
	require.True(t, clientLeft(conn), "closed on this side")
}
