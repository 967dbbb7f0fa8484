package server

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

func TestDataloaderFiles(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	a.put("env/multidatabackend.json", `[{"id": "a"}, {"id": "b", "conditioning": {"type": "canny"}}]`)
	for _, path := range []string{"data-backend-file?path=env/multidatabackend.json", "dataloader/content?path=config/env/multidatabackend.json",
		"data-backend-file?path=" + filepath.Join(a.server.options.Configs.Dir(), "env/multidatabackend.json")} {
		content := read[[]any](t, a.request("GET", "/api/configs/"+path, nil), http.StatusOK)
		assert.Equal(t, []any{answer{"id": "a", "conditioning": []any{}}, answer{"id": "b", "conditioning": []any{answer{"type": "canny"}}}}, content)
	}
	listed := a.ok("GET", "/api/configs/?config_type=dataloader", nil)
	assert.Nil(t, listed["active"])
	entry := listed["configs"].([]any)[0].(answer)
	assert.ElementsMatch(t, []string{"name", "created_at", "modified_at", "dataset_count", "path"}, keys(entry))
	assert.Equal(t, 2.0, entry["dataset_count"])
	assert.Len(t, a.ok("GET", "/api/configs/env?config_type=dataloader", nil)["config"], 2)

	again := a.ok("POST", "/api/configs/env/dataloader", answer{})
	backup := again["dataloader"].(answer)["backup"].(string)
	assert.Equal(t, "Dataloader for environment 'env' regenerated; the old file is kept as '"+backup+"'", again["message"])
	assert.Contains(t, a.file(backup), "canny")
	assert.Contains(t, a.file("env/multidatabackend.json"), "env-images")
	other := a.ok("POST", "/api/configs/env/dataloader", answer{"path": "env/empty.json", "include_defaults": false})
	assert.Equal(t, "Dataloader for environment 'env' created", other["message"])
	assert.NotContains(t, other["dataloader"], "backup")
	assert.JSONEq(t, `[]`, a.file("env/empty.json"))
	assert.Equal(t, "env/empty.json", a.ok("GET", "/api/configs/env", nil)["config"].(answer)["--data_backend_config"])

	path := url.QueryEscape(filepath.Join(a.server.options.Configs.Dir(), "env/empty.json"))
	assert.Contains(t, a.ok("DELETE", "/api/configs/dataloader?path="+path, nil)["message"], "Dataloader configuration deleted: ")
	assert.Equal(t, http.StatusNotFound, a.request("DELETE", "/api/configs/dataloader?path="+path, nil).status)
	for _, other := range []string{"env/config.json", "default.json", "../x.json", "env"} {
		assert.Equal(t, http.StatusBadRequest, a.request("DELETE", "/api/configs/dataloader?path="+other, nil).status, other)
	}
	assert.Equal(t, http.StatusUnprocessableEntity, a.request("DELETE", "/api/configs/dataloader", nil).status)

	a.ok("POST", "/api/configs/?config_type=dataloader", answer{"name": "sets", "config": []any{answer{"id": "x"}}})
	a.ok("PUT", "/api/configs/sets?config_type=dataloader", answer{"name": "sets", "config": []any{}})
	assert.JSONEq(t, `[]`, a.file("sets.json"))
	assert.Equal(t, "[]", a.request("GET", "/api/configs/sets/export?config_type=dataloader&include_metadata=false", nil).body)
	a.ok("DELETE", "/api/configs/sets?config_type=dataloader", nil)
}

func TestLycorisConfigs(t *testing.T) {
	a := serve(t, Options{})
	a.environment("env")
	config := answer{"algo": "lokr", "multiplier": 1.0, "linear_dim": 10000.0, "linear_alpha": 1.0, "factor": 16.0,
		"apply_preset": answer{"target_module": []any{"Attention"}, "module_algo_map": answer{"Attention": answer{"factor": 16.0}}}}
	saved := a.ok("PUT", "/api/configs/environments/env/lycoris", answer{"config": config})
	assert.Equal(t, answer{"message": "Lycoris configuration saved for environment 'env'", "environment_id": "env", "success": true,
		"path": "env/lycoris_config.json", "absolute_path": filepath.Join(a.server.options.Configs.Dir(), "env/lycoris_config.json")}, saved)
	assert.Equal(t, answer{"environment_id": "env", "config": config}, a.ok("GET", "/api/configs/environments/env/lycoris", nil))
	assert.Equal(t, "lokr", a.ok("GET", "/api/configs/?config_type=lycoris", nil)["configs"].([]any)[0].(answer)["algo"])
	assert.Equal(t, "env/lycoris_config.json", a.ok("GET", "/api/configs/env", nil)["config"].(answer)["lycoris_config"])

	tests := []struct {
		name   string
		config answer
		errors []string
	}{
		{"fine", config, nil},
		{"no algorithm", answer{}, []string{"Missing required field: 'algo'"}},
		{"algorithm is no text", answer{"algo": 3}, []string{"Field 'algo' must be a string"}},
		{"numbers", answer{"algo": "lokr", "multiplier": 0, "linear_dim": 1.5, "linear_alpha": "x", "factor": 0},
			[]string{"Field 'multiplier' must be greater than 0", "Field 'linear_dim' must be an integer", "Field 'linear_alpha' must be a number", "Field 'factor' must be greater than 0"}},
		{"largest factor", answer{"algo": "lokr", "factor": -1}, nil},
		{"full needs no rank", answer{"algo": "full", "linear_dim": -1}, nil},
		{"preset is no object", answer{"algo": "lokr", "apply_preset": 1}, []string{"Field 'apply_preset' must be a dictionary"}},
		{"preset", answer{"algo": "lokr", "apply_preset": answer{"target_name": "x", "module_algo_map": []any{}, "name_algo_map": answer{"a": 1}}},
			[]string{"Field 'apply_preset.target_name' must be a list", "Field 'apply_preset.module_algo_map' must be a dictionary",
				"Override 'a' within 'apply_preset.name_algo_map' must be a dictionary"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verdict := a.ok("POST", "/api/configs/lycoris/validate", answer{"config": test.config})
			assert.Equal(t, len(test.errors) == 0, verdict["valid"])
			assert.Equal(t, test.errors, stringsOf(verdict["errors"]))
		})
	}
	verdict := a.ok("POST", "/api/configs/lycoris/validate", answer{"config": answer{"algo": "magic"}})
	assert.Contains(t, strings.Join(stringsOf(verdict["warnings"]), ""), "Unknown algo 'magic'")
}

func TestWebhookConfigs(t *testing.T) {
	a := serve(t, Options{})
	config := answer{"webhook_type": "raw", "callback_url": "https://example.com/hook", "log_level": "debug", "auth_token": "secret"}
	saved := a.ok("POST", "/api/configs/webhooks", answer{"name": "hook", "config": config})
	assert.Equal(t, answer{"message": "Webhook configuration 'hook' created", "success": true, "name": "hook", "path": "webhooks/hook.json",
		"absolute_path": filepath.Join(a.server.options.Configs.Dir(), "webhooks/hook.json")}, saved)
	config["log_level"] = "info"
	assert.Equal(t, "Webhook configuration 'hook' updated", a.ok("POST", "/api/configs/webhooks", answer{"name": "hook", "config": config})["message"],
		"POST says that it replaced one")
	assert.Equal(t, "Webhook configuration 'hook' updated", a.ok("PUT", "/api/configs/webhooks/hook", answer{"config": config})["message"])
	entry := a.ok("GET", "/api/configs/?config_type=webhook", nil)["configs"].([]any)[0].(answer)
	assert.Equal(t, "info", entry["log_level"])
	assert.NotContains(t, entry, "auth_token")
	assert.Equal(t, answer{"message": "Webhook configuration 'hook' deleted", "success": true, "name": "hook"}, a.ok("DELETE", "/api/configs/webhooks/hook", nil))
	assert.Equal(t, 0.0, a.ok("GET", "/api/configs/?config_type=webhook", nil)["count"])

	tests := []struct {
		name   string
		config answer
		errors []string
	}{
		{"nothing", answer{}, []string{"Missing required field: 'webhook_type'"}},
		{"another type", answer{"webhook_type": "slack"}, []string{"Invalid webhook_type: 'slack'. Must be 'discord' or 'raw'"}},
		{"no address", answer{"webhook_type": "raw"}, []string{"Missing required field: 'callback_url' for raw webhook"}},
		{"address is no text", answer{"webhook_type": "discord", "webhook_url": 3}, []string{"Field 'webhook_url' must be a string"}},
		{"file", answer{"webhook_type": "raw", "callback_url": "file:///etc/passwd"}, []string{"Field 'callback_url' must be an http or https URL"}},
		{"level and token", answer{"webhook_type": "raw", "callback_url": "http://x", "log_level": "loud", "auth_token": 1},
			[]string{"Invalid log_level: 'loud'. Must be one of: debug, info, warning, error, critical", "Field 'auth_token' must be a string"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			verdict := a.ok("POST", "/api/configs/webhooks/validate", answer{"config": test.config})
			assert.Equal(t, answer{"valid": false, "errors": toAny(test.errors), "warnings": []any{}}, verdict)
			refused := read[answer](t, a.request("POST", "/api/configs/webhooks", answer{"name": "bad", "config": test.config}), http.StatusBadRequest)
			assert.Equal(t, answer{"detail": answer{"message": "Invalid webhook configuration", "errors": toAny(test.errors)}}, refused)
		})
	}
	assert.Equal(t, http.StatusNotFound, a.request("GET", "/api/configs/webhooks/bad", nil).status)
	verdict := a.ok("POST", "/api/configs/webhooks/validate", answer{"config": answer{"webhook_type": "discord", "webhook_url": "https://example.com"}})
	assert.Equal(t, []string{"Discord webhook URL should contain 'discord.com/api/webhooks/'"}, stringsOf(verdict["warnings"]))
}

func toAny(items []string) []any {
	all := make([]any, len(items))
	for i, item := range items {
		all[i] = item
	}
	return all
}

func TestWebhookTest(t *testing.T) {
	type delivery struct {
		receiver job.Webhook
		payload  Payload
	}
	var delivered []delivery
	var fails error
	a := serve(t, Options{Deliver: func(_ context.Context, receiver job.Webhook, payload Payload) error {
		delivered = append(delivered, delivery{receiver, payload})
		return fails
	}})
	a.ok("POST", "/api/configs/webhooks", answer{"name": "raw", "config": answer{"webhook_type": "raw", "callback_url": "http://x/y", "auth_token": "t", "ssl_no_verify": true}})
	a.ok("POST", "/api/configs/webhooks", answer{"name": "chat", "config": answer{"webhook_type": "discord", "webhook_url": "https://discord.com/api/webhooks/1", "message_prefix": "[demo]"}})
	assert.Equal(t, true, a.ok("POST", "/api/configs/webhooks/raw/test", nil)["success"])
	assert.Equal(t, true, a.ok("POST", "/api/configs/webhooks/chat/test", nil)["success"])
	fails = errors.New("connection refused")
	assert.Equal(t, answer{"success": false, "error": "connection refused"}, a.ok("POST", "/api/configs/webhooks/raw/test", nil))
	require.Len(t, delivered, 3)
	assert.Equal(t, "t", delivered[0].receiver.AuthToken)
	assert.Equal(t, []bool{true, false}, []bool{delivered[0].receiver.SkipVerify, delivered[1].receiver.SkipVerify})
	assert.Equal(t, Payload{Message: "SimpleTuner webhook test from 'raw'", Body: answer{"event": "test", "webhook_name": "raw"}}, delivered[0].payload)
	assert.Equal(t, "https://discord.com/api/webhooks/1", delivered[1].receiver.URL)
	assert.Equal(t, "[demo]", delivered[1].receiver.Prefix)
	assert.Equal(t, Payload{Message: "SimpleTuner webhook test from 'chat'", Body: answer{"event": "test", "webhook_name": "chat"}}, delivered[1].payload)
	a.put("webhooks/broken.json", `{"webhook_type": "raw"}`)
	assert.Equal(t, answer{"success": false, "error": "Missing required field: 'callback_url' for raw webhook"}, a.ok("POST", "/api/configs/webhooks/broken/test", nil))
}
