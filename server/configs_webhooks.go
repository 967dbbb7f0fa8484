package server

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/notify"
)

// webhookTestWait is how long a receiver may take to answer a test.
const webhookTestWait = 10 * time.Second

func (s *Server) createWebhook(c *fiber.Ctx) error {
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	name, config := b.requireText("name"), b.object("config")
	if err := b.err(); err != nil {
		return err
	}
	return s.saveWebhook(c, name, config)
}

func (s *Server) putWebhook(c *fiber.Ctx) error {
	name, config, err := readNamedObject(c)
	if err != nil {
		return err
	}
	return s.saveWebhook(c, name, config)
}

// saveWebhook creates or replaces a receiver, and says which.
func (s *Server) saveWebhook(c *fiber.Ctx, name string, config map[string]any) error {
	restored, v := s.judgeSent(configs.Webhook, name, config)
	if len(v.errors) > 0 {
		return v.refuseConfig(c, "Invalid webhook configuration")
	}
	place, created, err := s.options.Configs.SaveWebhook(name, restored.(map[string]any))
	if err != nil {
		return configFailure(err)
	}
	done := "updated"
	if created {
		done = "created"
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Webhook configuration '%s' %s", name, done), "success": true, "name": name,
		"path": place.Path, "absolute_path": place.Absolute})
}

func (s *Server) webhook(c *fiber.Ctx) (configs.Document, error) {
	name, err := configName(c)
	if err != nil {
		return configs.Document{}, err
	}
	d, err := s.options.Configs.Get(configs.Webhook, name)
	if isNotFound(err) {
		return d, failure(http.StatusNotFound, "Webhook configuration '%s' not found", name)
	}
	if err != nil {
		return d, configFailure(err)
	}
	return d, nil
}

func (s *Server) getWebhook(c *fiber.Ctx) error {
	d, err := s.webhook(c)
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{"name": d.Name, "config": shown(d.Kind, d.Config)})
}

func (s *Server) deleteWebhook(c *fiber.Ctx) error {
	d, err := s.webhook(c)
	if err != nil {
		return err
	}
	if err := s.options.Configs.Delete(configs.Webhook, d.Name); err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Webhook configuration '%s' deleted", d.Name), "success": true, "name": d.Name})
}

func (s *Server) validateWebhook(c *fiber.Ctx) error { return validateObject(c, judgeWebhook) }

// testWebhook sends a message to a receiver; what went wrong is told in a 200 answer.
func (s *Server) testWebhook(c *fiber.Ctx) error {
	d, err := s.webhook(c)
	if err != nil {
		return err
	}
	object, _ := d.Config.(map[string]any)
	if v := judgeWebhook(object); len(v.errors) > 0 {
		return c.JSON(fiber.Map{"success": false, "error": strings.Join(texts(v.errors), "; ")})
	}
	if s.options.Deliver == nil {
		return c.JSON(fiber.Map{"success": false, "error": "this server sends no webhooks"})
	}
	receiver := receiverOf(object)
	payload := Payload{Message: fmt.Sprintf("SimpleTuner webhook test from '%s'", d.Name), Body: map[string]any{"event": "test", "webhook_name": d.Name}}
	ctx, cancel := context.WithTimeout(context.Background(), webhookTestWait)
	defer cancel()
	if err := s.options.Deliver(ctx, receiver, payload); err != nil {
		return c.JSON(fiber.Map{"success": false, "error": strings.Join(problemsOf(err), "; ")})
	}
	return c.JSON(fiber.Map{"success": true, "message": fmt.Sprintf("the %s webhook has taken the test message", receiver.Type)})
}

func receiverOf(config map[string]any) job.Webhook {
	said := func(field string) string {
		text, _ := config[field].(string)
		return text
	}
	target := said("callback_url")
	if said("webhook_type") == "discord" {
		target = said("webhook_url")
	}
	return job.Webhook{Type: said("webhook_type"), URL: target, Prefix: said("message_prefix"), Level: said("log_level"),
		AuthToken: said("auth_token"), Secret: said("secret"), SkipVerify: config["ssl_no_verify"] == true}
}

// judgeWebhook checks a receiver of events.
func judgeWebhook(config map[string]any) *verdict {
	v := &verdict{}
	kind := config["webhook_type"]
	switch kind {
	case nil, "":
		v.add("webhook_type", "Missing required field: 'webhook_type'")
	case "discord":
		v.webhookURL(config, "webhook_url", "Discord")
		if target, ok := config["webhook_url"].(string); ok && !strings.Contains(target, "discord.com/api/webhooks/") {
			v.warnings = append(v.warnings, "Discord webhook URL should contain 'discord.com/api/webhooks/'")
		}
	case "raw":
		v.webhookURL(config, "callback_url", "raw")
	default:
		v.add("webhook_type", "Invalid webhook_type: '%v'. Must be 'discord' or 'raw'", kind)
	}
	if level := config["log_level"]; level != nil {
		if text, ok := level.(string); !ok || !slices.Contains(notify.Levels, text) {
			v.add("log_level", "Invalid log_level: '%v'. Must be one of: %s", level, strings.Join(notify.Levels, ", "))
		}
	}
	for _, field := range []string{"message_prefix", "auth_token", "secret"} {
		if _, ok := config[field].(string); !ok && config[field] != nil {
			v.add(field, "Field '%s' must be a string", field)
		}
	}
	return v
}

func (v *verdict) webhookURL(config map[string]any, field, kind string) {
	target, isText := config[field].(string)
	parsed, err := url.Parse(target)
	switch {
	case config[field] == nil || isText && target == "":
		v.add(field, "Missing required field: '%s' for %s webhook", field, kind)
	case !isText:
		v.add(field, "Field '%s' must be a string", field)
	case err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https":
		v.add(field, "Field '%s' must be an http or https URL", field)
	}
}
