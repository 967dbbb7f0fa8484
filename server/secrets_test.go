package server

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

const (
	hookToken  = "the-token-of-the-hook"
	hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func secretReceiver() answer {
	return answer{"webhook_type": "raw", "callback_url": "https://example.com/hook", "log_level": "info", "auth_token": hookToken, "secret": hookSecret}
}

// storedReceivers are those in the file of an environment, secrets included.
func (a *api) storedReceivers(file string) []any {
	a.t.Helper()
	var options answer
	require.NoError(a.t, json.Unmarshal([]byte(a.file(file)), &options))
	for _, key := range []string{"--webhook_config", "webhook_config"} {
		switch value := options[key].(type) {
		case []any:
			return value
		case answer:
			return []any{value}
		case string:
			var list []any
			require.NoError(a.t, json.Unmarshal([]byte(value), &list))
			return list
		}
	}
	return nil
}

// No route that reads a configuration answers a secret; what was read can be written again and keeps it.
func TestSecretsAreMarked(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	a.ok("POST", "/api/configs/webhooks", answer{"name": "hook", "config": secretReceiver()})
	text, err := json.Marshal([]any{secretReceiver()})
	require.NoError(t, err)
	for name, value := range map[string]any{"an object": secretReceiver(), "a list": []any{secretReceiver()}, "text": string(text)} {
		config := a.ok("GET", "/api/configs/env", nil)["config"].(answer)
		config["--webhook_config"] = value
		a.ok("PUT", "/api/configs/env", answer{"name": "env", "config": config})
		a.ok("POST", "/api/configs/env/activate", nil)
		for _, path := range []string{"env", "active", "env/export", "env/export?include_metadata=false", "webhooks/hook", "hook?config_type=webhook",
			"hook/export?config_type=webhook", "?config_type=webhook", ""} {
			r := a.request("GET", "/api/configs/"+path, nil)
			require.Equal(t, http.StatusOK, r.status, path)
			assert.NotContains(t, r.body, hookToken, "%s in %s", name, path)
			assert.NotContains(t, r.body, hookSecret, "%s in %s", name, path)
		}
		for _, path := range []string{"env/config.json", "webhooks/hook.json"} {
			assert.Equal(t, http.StatusBadRequest, a.request("GET", "/api/configs/data-backend-file?path="+path, nil).status, path)
		}
		read := a.ok("GET", "/api/configs/env", nil)["config"].(answer)
		read["--seed"] = 7
		a.ok("PUT", "/api/configs/env", answer{"name": "env", "config": read})
		assert.Equal(t, []any{secretReceiver()}, a.storedReceivers("env/config.json"), name)
		exported := a.ok("GET", "/api/configs/env/export", nil)
		a.ok("POST", "/api/configs/import", answer{"data": exported, "overwrite": true})
		assert.Equal(t, []any{secretReceiver()}, a.storedReceivers("env/config.json"), "%s, imported", name)
		assert.Contains(t, a.postPlain("config", options{"--seed": "8", "--webhook_config": asText(t, read["--webhook_config"])}).body, "Configuration saved")
		assert.Equal(t, []any{secretReceiver()}, a.storedReceivers("env/config.json"), "%s, from the form", name)
	}
	read := a.ok("GET", "/api/configs/webhooks/hook", nil)["config"].(answer)
	assert.Equal(t, []any{secretMark, secretMark, "info"}, []any{read["auth_token"], read["secret"], read["log_level"]})
	read["log_level"] = "debug"
	a.ok("PUT", "/api/configs/webhooks/hook", answer{"config": read})
	assert.Contains(t, a.file("webhooks/hook.json"), hookToken)
	assert.Contains(t, a.file("webhooks/hook.json"), "debug")
}

func asText(t *testing.T, value any) string {
	t.Helper()
	if text, ok := value.(string); ok {
		return text
	}
	text, err := json.Marshal(value)
	require.NoError(t, err)
	return string(text)
}

// A mark for which there is no secret is refused; above all it sends no secret to another address.
func TestMarksWithoutSecret(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	a.ok("POST", "/api/configs/env/activate", nil)
	a.ok("POST", "/api/configs/webhooks", answer{"name": "hook", "config": secretReceiver()})
	elsewhere := secretReceiver()
	maps.Copy(elsewhere, answer{"callback_url": "https://elsewhere.example.com/hook", "auth_token": secretMark, "secret": secretMark})
	for path, body := range map[string]answer{
		"PUT /api/configs/env":           {"name": "env", "config": answer{"--webhook_config": []any{elsewhere}}},
		"POST /api/configs/":             {"name": "other", "config": answer{"webhook_config": elsewhere}},
		"POST /api/configs/import":       {"name": "other", "data": answer{"webhook_config": elsewhere}},
		"PUT /api/configs/webhooks/hook": {"config": elsewhere},
		"POST /api/configs/webhooks":     {"name": "new", "config": elsewhere},
	} {
		method, path, _ := strings.Cut(path, " ")
		r := a.request(method, path, body)
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, r.status, path)
		for _, field := range secretFields {
			assert.Contains(t, r.body, field+": ******** stands for a stored secret", path)
		}
	}
	for _, path := range []string{"validate", "start", "config"} {
		assert.Contains(t, a.post(path, a.fastPath(options{"webhook_config": asText(t, elsewhere)})).body, "stands for a stored secret", path)
	}
	assert.NotContains(t, a.file("env/config.json"), "elsewhere")
	assert.NotContains(t, a.file("webhooks/hook.json"), "elsewhere")
}

// Several receivers at one address keep each its own secret; where it is not known which is meant, nothing is written.
func TestSecretsOfOneAddress(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	receiver := func(token, level string) answer {
		return answer{"webhook_type": "raw", "callback_url": "https://example.com/hook", "auth_token": token, "log_level": level}
	}
	two := []any{receiver("one", "info"), receiver("two", "debug")}
	for _, name := range []string{"first", "second"} {
		a.ok("POST", "/api/configs/webhooks", answer{"name": name, "config": receiver("of the "+name, "info")})
	}
	a.ok("PUT", "/api/configs/env", answer{"name": "env", "config": answer{"webhook_config": two}})
	read := func() (answer, []any) {
		config := a.ok("GET", "/api/configs/env", nil)["config"].(answer)
		return config, config["webhook_config"].([]any)
	}
	config, receivers := read()
	receivers[0], receivers[1] = receivers[1], receivers[0]
	a.ok("PUT", "/api/configs/env", answer{"name": "env", "config": config})
	assert.Equal(t, []any{two[1], two[0]}, a.storedReceivers("env/config.json"))
	config, receivers = read()
	receivers[0].(answer)["log_level"] = "error"
	r := a.request("PUT", "/api/configs/env", answer{"name": "env", "config": config})
	assert.Equal(t, http.StatusUnprocessableEntity, r.status)
	assert.Contains(t, r.body, "auth_token: ******** stands for one of 2 secrets that are stored for this address; send the secret itself")
	assert.Equal(t, []any{two[1], two[0]}, a.storedReceivers("env/config.json"))

	hook := a.ok("GET", "/api/configs/webhooks/second", nil)["config"].(answer)
	hook["log_level"] = "debug"
	a.ok("PUT", "/api/configs/webhooks/second", answer{"config": hook})
	assert.Contains(t, a.file("webhooks/second.json"), "of the second")
}

// SimpleTuner's server puts its own callback into the configurations that it saves; here it is left out.
func TestOwnCallback(t *testing.T) {
	var checked []string
	a := serve(t, Options{CheckReceiver: func(_ context.Context, receiver job.Webhook) []job.Problem {
		checked = append(checked, receiver.URL)
		return nil
	}})
	_, port, err := net.SplitHostPort(a.address)
	require.NoError(t, err)
	own := answer{"webhook_type": "raw", "callback_url": "http://localhost:" + port + "/callback", "log_level": "info"}
	for value, sent := range map[string][]string{
		asText(t, own):                          nil,
		asText(t, []any{own, secretReceiver()}): {"https://example.com/hook"},
		asText(t, answer{"callback_url": "http://localhost:" + port + "/other"}):      {"http://localhost:" + port + "/other"},
		asText(t, answer{"callback_url": "http://localhost:1/callback"}):              {"http://localhost:1/callback"},
		asText(t, answer{"callback_url": "http://example.com:" + port + "/callback"}): {"http://example.com:" + port + "/callback"},
	} {
		checked = nil
		r := a.post("validate", a.fastPath(options{"webhook_config": value}))
		assert.NotContains(t, r.body, "Validation Failed", value)
		assert.Equal(t, sent, checked, value)
		assert.Equal(t, strings.Contains(value, port+"/callback") && strings.Contains(value, "localhost"), strings.Contains(r.body, "nothing is sent there"), value)
	}
	assert.Contains(t, a.post("start", a.fastPath(options{"webhook_config": asText(t, own)})).body, "nothing is sent there")
}

// The web interface of SimpleTuner links a stored receiver by its name, or copies what it reads of it.
func TestLinkedReceivers(t *testing.T) {
	var checked []job.Webhook
	a := serve(t, Options{})
	a.server.options.CheckReceiver = func(_ context.Context, receiver job.Webhook) []job.Problem {
		checked = append(checked, receiver)
		return nil
	}
	a.environment("env")
	a.ok("POST", "/api/configs/webhooks", answer{"name": "hook", "config": secretReceiver()})
	read := a.ok("GET", "/api/configs/webhooks/hook", nil)["config"].(answer)
	read["name"] = "hook"
	for _, value := range []string{"hook", asText(t, []any{read})} {
		checked = nil
		r := a.post("validate", a.fastPath(options{"webhook_config": value}))
		assert.NotContains(t, r.body, "Validation Failed", value)
		require.Len(t, checked, 1, r.body)
		assert.Equal(t, hookToken, checked[0].AuthToken)
		assert.Equal(t, hookSecret, checked[0].Secret)
	}
}
