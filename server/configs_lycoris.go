package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"
)

func (s *Server) getLycoris(c *fiber.Ctx) error {
	name, err := configName(c)
	if err != nil {
		return err
	}
	config, err := s.options.Configs.LycorisConfig(name)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"environment_id": name, "config": config})
}

func (s *Server) putLycoris(c *fiber.Ctx) error {
	name, config, err := readNamedObject(c)
	if err != nil {
		return err
	}
	if err := judgeLycoris(config).refusal(config); err != nil {
		return err
	}
	place, err := s.options.Configs.SaveLycoris(name, config)
	if err != nil {
		return configFailure(err)
	}
	return c.JSON(fiber.Map{"message": fmt.Sprintf("Lycoris configuration saved for environment '%s'", name), "environment_id": name,
		"success": true, "path": place.Path, "absolute_path": place.Absolute})
}

func (s *Server) validateLycoris(c *fiber.Ctx) error { return validateObject(c, judgeLycoris) }

// validateObject answers what there is to say about the "config" of the body.
func validateObject(c *fiber.Ctx, judge func(config map[string]any) *verdict) error {
	config, err := readConfigObject(c.Body())
	if err != nil {
		return err
	}
	return c.JSON(judge(config).shortReport())
}

// readNamedObject reads the name in the path and a body {"config": {…}}.
func readNamedObject(c *fiber.Ctx) (name string, config map[string]any, err error) {
	if name, err = configName(c); err == nil {
		config, err = readConfigObject(c.Body())
	}
	return name, config, err
}

// readConfigObject reads a body {"config": {…}}.
func readConfigObject(raw []byte) (map[string]any, error) {
	b, err := readBody(raw)
	if err != nil {
		return nil, err
	}
	return b.object("config"), b.err()
}

// shortReport is the answer of the validations that have no suggestions.
func (v *verdict) shortReport() fiber.Map {
	return fiber.Map{"valid": len(v.errors) == 0, "errors": texts(v.errors), "warnings": list(v.warnings)}
}

// lycorisAlgorithms are the algorithms that LyCORIS files may name.
var lycorisAlgorithms = []string{"boft", "diag-oft", "dylora", "full", "glora", "ia3", "locon", "loha", "lokr", "lora", "tlora"}

// Preset fields of LyCORIS files that are lists, and those that map modules to options.
var (
	presetLists = []string{"exclude_name", "target_module", "target_name", "text_encoder_target_module", "text_encoder_target_name",
		"unet_target_module", "unet_target_name"}
	presetMaps = []string{"module_algo_map", "name_algo_map"}
)

// judgeLycoris checks a LyCORIS configuration as far as every algorithm shares it.
func judgeLycoris(config map[string]any) *verdict {
	v := &verdict{}
	algorithm, isText := config["algo"].(string)
	algorithm = strings.ToLower(strings.TrimSpace(algorithm))
	switch {
	case config["algo"] == nil || isText && algorithm == "":
		v.add("algo", "Missing required field: 'algo'")
	case !isText:
		v.add("algo", "Field 'algo' must be a string")
	case !slices.Contains(lycorisAlgorithms, algorithm):
		v.warnings = append(v.warnings, fmt.Sprintf("Unknown algo '%s'. Known algorithms: %s", algorithm, strings.Join(lycorisAlgorithms, ", ")))
	}
	v.positive(config, "multiplier", false)
	if algorithm != "full" && algorithm != "ia3" {
		v.positive(config, "linear_dim", true)
		v.positive(config, "linear_alpha", false)
	}
	if algorithm == "lokr" && !same(config["factor"], "-1") {
		v.positive(config, "factor", true)
	}
	if preset, given := config["apply_preset"]; given && preset != nil {
		v.preset(preset)
	}
	return v
}

// same tells whether a JSON number is spelled so.
func same(value any, number string) bool {
	n, ok := value.(json.Number)
	return ok && n.String() == number
}

func (v *verdict) add(field, format string, args ...any) {
	v.errors = append(v.errors, finding{field: field, message: fmt.Sprintf(format, args...)})
}

// positive requires a number above zero where the field is present.
func (v *verdict) positive(config map[string]any, field string, whole bool) {
	value, given := config[field]
	if !given || value == nil {
		return
	}
	spelled, isNumber := value.(json.Number)
	number, err := strconv.ParseFloat(spelled.String(), 64)
	switch {
	case !isNumber || err != nil:
		v.add(field, "Field '%s' must be a number", field)
	case whole && number != float64(int64(number)):
		v.add(field, "Field '%s' must be an integer", field)
	case number <= 0:
		v.add(field, "Field '%s' must be greater than 0", field)
	}
}

func (v *verdict) preset(value any) {
	preset, ok := value.(map[string]any)
	if !ok {
		v.add("apply_preset", "Field 'apply_preset' must be a dictionary")
		return
	}
	for _, field := range presetLists {
		if _, ok := preset[field].([]any); !ok && preset[field] != nil {
			v.add("apply_preset", "Field 'apply_preset.%s' must be a list", field)
		}
	}
	for _, field := range presetMaps {
		overrides, ok := preset[field].(map[string]any)
		if !ok && preset[field] != nil {
			v.add("apply_preset", "Field 'apply_preset.%s' must be a dictionary", field)
		}
		for name, override := range overrides {
			if _, ok := override.(map[string]any); !ok {
				v.add("apply_preset", "Override '%s' within 'apply_preset.%s' must be a dictionary", name, field)
			}
		}
	}
}

// refuseConfig answers 400 as the original does for webhooks: the detail is an object with every error.
func (v *verdict) refuseConfig(c *fiber.Ctx, message string) error {
	return c.Status(http.StatusBadRequest).JSON(fiber.Map{"detail": fiber.Map{"message": message, "errors": texts(v.errors)}})
}
