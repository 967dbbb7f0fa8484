package server

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/configs"
)

// configFailure answers refusals of the store with their own texts.
func configFailure(err error) error {
	var refused *configs.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Kind {
	case configs.ErrNotFound:
		return failure(http.StatusNotFound, "%s", refused.Text)
	case configs.ErrExists:
		return failure(http.StatusConflict, "%s", refused.Text)
	case configs.ErrBroken, configs.ErrInvalid:
		return failure(http.StatusUnprocessableEntity, "%s", refused.Text)
	}
	return failure(http.StatusBadRequest, "%s", refused.Text)
}

// configName is the name in the path. A slash in it is a path that no route has.
func configName(c *fiber.Ctx) (string, error) {
	name, err := url.PathUnescape(c.Params("name"))
	if err != nil || strings.Contains(name, "/") {
		return "", failure(http.StatusNotFound, "Not Found")
	}
	return name, nil
}

// configKind is one of the types that the table of routes lists.
func configKind(c *fiber.Ctx) configs.Kind {
	return configs.Kind(c.Query("config_type", string(configs.Model)))
}

// storedConfig is the configuration that the path and the query name.
func (s *Server) storedConfig(c *fiber.Ctx) (configs.Document, error) {
	name, err := configName(c)
	if err != nil {
		return configs.Document{}, err
	}
	d, err := s.options.Configs.Get(configKind(c), name)
	if err != nil {
		return configs.Document{}, configFailure(err)
	}
	return d, nil
}

func (s *Server) listConfigs(c *fiber.Ctx) error {
	kind := configKind(c)
	entries, err := s.options.Configs.List(kind)
	if err != nil {
		return configFailure(err)
	}
	var active any
	if name := s.options.Configs.ActiveName(); kind == configs.Model && name != "" {
		active = name
	}
	return c.JSON(fiber.Map{"configs": entries, "active": active, "count": len(entries), "config_type": kind})
}

func (s *Server) getConfig(c *fiber.Ctx) error {
	d, err := s.storedConfig(c)
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{"name": d.Name, "config": shown(d.Kind, d.Shown()), "metadata": d.Metadata, "config_type": d.Kind})
}

func (s *Server) getActiveConfig(c *fiber.Ctx) error {
	name := s.options.Configs.ActiveName()
	if name == "" {
		return c.JSON(fiber.Map{"name": nil, "config": fiber.Map{}, "metadata": nil})
	}
	d, err := s.options.Configs.Get(configs.Model, name)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"name": d.Name, "config": shown(d.Kind, d.Shown()), "metadata": d.Metadata})
}

func (s *Server) listExamples(c *fiber.Ctx) error {
	examples, err := configs.Examples()
	if err != nil {
		return err
	}
	list := make([]fiber.Map, len(examples))
	for i, e := range examples {
		list[i] = fiber.Map{"name": e.Name, "description": e.Description, "defaults": e.Options,
			"config_path": e.ConfigPath, "dataloader_path": e.DataloaderPath, "has_dataloader": true}
	}
	return c.JSON(fiber.Map{"examples": list, "count": len(list)})
}

func (s *Server) listTemplates(c *fiber.Ctx) error {
	templates, err := s.options.Configs.Templates()
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"templates": templates, "count": len(templates)})
}

func (s *Server) projectName(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"name": configs.ProjectName()})
}

// getDataBackendFile reads a file of the configs directory, with "conditioning" as a list in every dataset.
func (s *Server) getDataBackendFile(c *fiber.Ctx) error {
	content, err := s.options.Configs.ReadFile(c.Query("path"))
	if err != nil {
		return configFailure(err)
	}
	datasets, ok := content.([]any)
	if !ok {
		datasets = []any{content}
	}
	for _, dataset := range datasets {
		object, ok := dataset.(map[string]any)
		if !ok {
			continue
		}
		switch conditioning := object["conditioning"].(type) {
		case nil:
			object["conditioning"] = []any{}
		case map[string]any:
			object["conditioning"] = []any{conditioning}
		}
	}
	return c.JSON(content)
}

func (s *Server) deleteDataloaderFile(c *fiber.Ctx) error {
	path := c.Query("path")
	if err := s.options.Configs.DeleteDataloader(path); err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": "Dataloader configuration deleted: " + path})
}

func (s *Server) exportConfig(c *fiber.Ctx) error {
	d, err := s.storedConfig(c)
	if err != nil {
		return err
	}
	if with, set := parseFlag(c.Query("include_metadata")); set && !with {
		return c.JSON(shown(d.Kind, d.Config))
	}
	return c.JSON(fiber.Map{"_metadata": d.Metadata, "config": shown(d.Kind, d.Config)})
}

// parseFlag reads the words that Pydantic takes for booleans.
func parseFlag(text string) (flag, ok bool) {
	switch strings.ToLower(text) {
	case "true", "1", "yes", "on", "t", "y":
		return true, true
	case "false", "0", "no", "off", "f", "n":
		return false, true
	}
	return false, false
}
