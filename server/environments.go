package server

import (
	"fmt"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"github.com/stepd/stepd/sessions/configs"
)

// environmentAnswer is the metadata of an environment with the path of its folder.
type environmentAnswer struct {
	configs.Metadata
	Path string `json:"path"`
}

func (s *Server) createEnvironment(c *fiber.Ctx) error {
	request, notes, err := readEnvironment(c.Body())
	if err != nil {
		return err
	}
	environment, err := s.options.Configs.CreateEnvironment(request)
	if err != nil {
		return configFailure(err)
	}
	answer := fiber.Map{
		"message":     fmt.Sprintf("Environment '%s' created", environment.Metadata.Name),
		"environment": environmentAnswer{environment.Metadata, environment.Path},
		"config":      shown(configs.Model, environment.Options), "dataloader": environment.Dataloader,
	}
	if len(notes) > 0 {
		answer["warnings"] = notes
	}
	return c.JSON(answer)
}

func readEnvironment(raw []byte) (configs.EnvironmentRequest, []string, error) {
	b, err := readBody(raw)
	if err != nil {
		return configs.EnvironmentRequest{}, nil, err
	}
	request := configs.EnvironmentRequest{
		Name: b.requireText("name"), ModelFamily: b.requireText("model_family"), ModelFlavour: b.text("model_flavour"),
		ModelType: b.text("model_type"), LoraType: b.text("lora_type"), Description: b.text("description"),
		Example: b.text("example"), DataloaderPath: b.text("dataloader_path"), NoDataloader: !b.flag("create_dataloader", true),
	}
	if err := b.err(); err != nil {
		return request, nil, err
	}
	if _, err := configs.CleanName(request.Name); err != nil {
		return request, nil, configFailure(err)
	}
	if request.ModelFamily == "" {
		return request, nil, failure(http.StatusBadRequest, "model_family is required")
	}
	if request.NoDataloader && request.DataloaderPath == "" {
		return request, nil, failure(http.StatusBadRequest, "dataloader_path is required when referencing an existing configuration")
	}
	return request, b.strangers(), nil
}

// regenerateDataloader writes the starter dataloader of an environment; the file that was there is kept as a backup.
func (s *Server) regenerateDataloader(c *fiber.Ctx) error {
	name, err := configName(c)
	if err != nil {
		return err
	}
	b, err := readBody(c.Body())
	if err != nil {
		return err
	}
	path, starter := b.text("path"), b.flag("include_defaults", true)
	if err := b.err(); err != nil {
		return err
	}
	metadata, place, err := s.options.Configs.RegenerateDataloader(name, path, starter)
	if err != nil {
		return configFailure(err)
	}
	message := fmt.Sprintf("Dataloader for environment '%s' created", metadata.Name)
	if place.Backup != "" {
		message = fmt.Sprintf("Dataloader for environment '%s' regenerated; the old file is kept as '%s'", metadata.Name, place.Backup)
	}
	return c.JSON(fiber.Map{"message": message, "environment": metadata, "dataloader": place})
}
