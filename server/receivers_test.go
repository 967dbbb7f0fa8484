package server

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/notify"
)

// serveWithWebhooks serves and sends, as the program does, to receivers on this machine.
func serveWithWebhooks(t *testing.T) *api {
	t.Helper()
	a := serve(t, Options{})
	service, err := notify.New(notify.Options{Manager: a.server.options.Manager, Allow: []string{"127.0.0.1"},
		Encode: func(s *sessions.Session, e sessions.Event) (notify.Payload, bool) {
			payload, ok := EventPayload(s, e)
			return notify.Payload(payload), ok
		}})
	require.NoError(t, err)
	a.server.options.CheckReceiver, a.server.options.Receivers = service.Check, service.Status
	service.Start()
	t.Cleanup(func() { assert.NoError(t, service.Close()) })
	return a
}

func TestWebhooksOfAJobHearOfItsEnd(t *testing.T) {
	a := serveWithWebhooks(t)
	bodies := make(chan []byte, 1000)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- body
	}))
	defer receiver.Close()
	config, err := json.Marshal(map[string]any{"webhook_type": "raw", "callback_url": receiver.URL + "/token-in-path", "log_level": "info"})
	require.NoError(t, err)
	id := a.start(a.fastPath(options{"webhook_config": string(config), "webhook_reporting_interval": "4"}))
	var steps []any
	for done := false; !done; {
		var event happening
		body := <-bodies
		require.NoError(t, json.Unmarshal(body, &event))
		assert.Equal(t, id, event["job_id"])
		if event["type"] == typeStatus {
			steps = append(steps, event.data("global_step"))
			done = event.data("status") == "completed"
		}
	}
	assert.Equal(t, []any{4.0, 8.0, 12.0, 12.0}, steps, "a status every four steps, and the end")
	r := a.request("GET", "/sessions/"+id+"/webhooks", nil)
	require.Equal(t, http.StatusOK, r.status)
	assert.NotContains(t, r.body, "token-in-path")
	answer := read[struct{ Receivers []notify.Status }](t, r, http.StatusOK)
	require.Len(t, answer.Receivers, 1)
	assert.Equal(t, receiver.Listener.Addr().String(), answer.Receivers[0].Host)
	assert.Positive(t, answer.Receivers[0].Settled)
}

func TestWebhooksAreCheckedBeforeAJobStarts(t *testing.T) {
	a := serveWithWebhooks(t)
	for config, problem := range map[string]string{
		`{"callback_url":"https://169.254.169.254/latest"}`:                     "callback_url: is refused: its address is not a public one",
		`{"callback_url":"http://10.0.0.1/"}`:                                   "callback_url: is plain http",
		`{"webhook_type":"discord","webhook_url":"https://127.0.0.2/"}`:         "webhook_url: is refused",
		`{"callback_url":"https://93.184.215.14/","ssl_no_verify":true}`:        "ssl_no_verify: is refused",
		`{"callback_url":"https://93.184.215.14/","log_level":"loud"}`:          "log_level: is none of debug",
		`{"callback_url":"https://user:hunter2@93.184.215.14/","secret":"abc"}`: "secret: is not whsec_",
	} {
		for _, path := range []string{"validate", "start"} {
			r := a.post(path, a.fastPath(options{"webhook_config": config}))
			assert.Contains(t, r.body, "--webhook_config: "+problem)
			assert.NotContains(t, r.body, "hunter2")
		}
	}
	assert.Empty(t, a.server.options.Manager.Sessions())
}
