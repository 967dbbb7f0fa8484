package server

import (
	"fmt"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/configs"
)

// configRequest is the body of creating and updating.
type configRequest struct {
	name    string
	config  any // an object; for dataloaders a list
	details configs.Details
	notes   []string // about the request itself
}

func readConfigRequest(raw []byte, kind configs.Kind) (*configRequest, error) {
	b, err := readBody(raw)
	if err != nil {
		return nil, err
	}
	r := &configRequest{}
	if _, ok := b.require("name"); ok {
		r.name = b.text("name")
	}
	r.details = configs.Details{Description: b.text("description"), Tags: b.texts("tags")}
	if kind == configs.Dataloader {
		if value, ok := b.require("config"); ok {
			if r.config, ok = value.([]any); !ok {
				b.add("list_type", "config", "Input should be a valid list", value, nil)
			}
		}
	} else {
		r.config = b.object("config")
	}
	r.notes = b.strangers()
	return r, b.err()
}

func (s *Server) createConfig(c *fiber.Ctx) error {
	kind := configKind(c)
	request, err := readConfigRequest(c.Body(), kind)
	if err != nil {
		return err
	}
	if _, err := configs.CleanName(request.name); err != nil {
		return configFailure(err)
	}
	config, verdict := s.judgeSent(kind, request.name, request.config)
	if err := verdict.refusal(config); err != nil {
		return err
	}
	metadata, err := s.options.Configs.Create(kind, request.name, config, request.details)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Configuration '%s' created successfully", metadata.Name), "metadata": metadata,
		"validation": verdict.advice(request.notes)})
}

func (s *Server) updateConfig(c *fiber.Ctx) error {
	name, err := configName(c)
	if err != nil {
		return err
	}
	kind := configKind(c)
	request, err := readConfigRequest(c.Body(), kind)
	if err != nil {
		return err
	}
	config, verdict := s.judgeSent(kind, name, request.config)
	if err := verdict.refusal(config); err != nil {
		return err
	}
	metadata, err := s.options.Configs.Update(kind, name, config, request.details)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Configuration '%s' updated successfully", metadata.Name), "metadata": metadata,
		"validation": verdict.advice(request.notes)})
}

func (s *Server) deleteConfig(c *fiber.Ctx) error {
	name, err := configName(c)
	if err != nil {
		return err
	}
	kind := configKind(c)
	if err := s.options.Configs.Delete(kind, name); err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Configuration '%s' deleted successfully", name)})
}

func (s *Server) activateConfig(c *fiber.Ctx) error {
	name, err := configName(c)
	if err != nil {
		return err
	}
	name, err = s.options.Configs.Activate(name)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Configuration '%s' is now active", name), "active": name})
}

func (s *Server) renameConfig(c *fiber.Ctx) error {
	return s.toOtherName(c, "new_name", "Configuration renamed from '%s' to '%s'", s.options.Configs.Rename)
}

func (s *Server) copyConfig(c *fiber.Ctx) error {
	return s.toOtherName(c, "target_name", "Configuration '%s' copied to '%s'", s.options.Configs.Copy)
}

// toOtherName renames or copies; field is where the body has the other name.
func (s *Server) toOtherName(c *fiber.Ctx, field, message string, do func(kind configs.Kind, name, other string) (configs.Metadata, error)) error {
	name, err := configName(c)
	if err != nil {
		return err
	}
	kind := configKind(c)
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	other := b.requireText(field)
	if err := b.err(); err != nil {
		return err
	}
	metadata, err := do(kind, name, other)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf(message, name, metadata.Name), "metadata": metadata})
}

func (s *Server) importConfig(c *fiber.Ctx) error {
	kind := configKind(c)
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	data, name, overwrite := b.object("data"), b.text("name"), b.flag("overwrite", false)
	if err := b.err(); err != nil {
		return err
	}
	data, lost := s.importedSecrets(kind, name, data)
	if err := (&verdict{errors: lost}).refusal(data); err != nil {
		return err
	}
	metadata, err := s.options.Configs.Import(kind, data, name, overwrite)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Configuration imported as '%s'", metadata.Name), "metadata": metadata})
}

func (s *Server) configFromTemplate(c *fiber.Ctx) error {
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	template, name := b.requireText("template_name"), b.requireText("config_name")
	if err := b.err(); err != nil {
		return err
	}
	metadata, err := s.options.Configs.FromTemplate(template, name)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Configuration '%s' created from template '%s'", metadata.Name, template), "metadata": metadata})
}

// validateConfig judges what was sent, or with a name in the path, a stored configuration.
func (s *Server) validateConfig(c *fiber.Ctx) error {
	value, err := parseStrict(c.Body())
	if err != nil {
		return invalidJSON(err)
	}
	kind := configKind(c)
	if _, ok := value.(map[string]any); !ok && kind != configs.Dataloader {
		return Problems{{Type: "dict_type", Loc: []any{"body"}, Message: "Input should be a valid dictionary", Input: value}}
	}
	config, lost := s.withSecrets(kind, s.options.Configs.ActiveName(), value)
	v := s.judge(kind, config, true)
	v.errors = append(v.errors, lost...)
	return c.JSON(v.report())
}

func (s *Server) validateStoredConfig(c *fiber.Ctx) error {
	d, err := s.storedConfig(c)
	if err != nil {
		return err
	}
	report := s.judge(d.Kind, d.Config, true).report()
	report["name"] = d.Name
	return c.JSON(report)
}
