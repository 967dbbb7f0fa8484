package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// secretMark stands for a secret in answers. A request that sends it back keeps the secret that is stored, so that clients
// may change what they have read and write it again.
const secretMark = "********"

// secretFields of receivers of events are never answered.
var secretFields = []string{"auth_token", "secret"}

// receiversOption is the option that holds receivers: an object, a list of them, the same as JSON in a text, or the path of
// a file.
const receiversOption = "webhook_config"

// shown is a configuration without its secrets.
func shown(kind configs.Kind, config any) any {
	object, ok := config.(map[string]any)
	switch {
	case !ok:
		return config
	case kind == configs.Webhook:
		return changeReceivers(config, hideSecrets)
	case kind != configs.Model:
		return config
	}
	return changeOption(object, hideSecrets)
}

// changeOption is a copy of options in which every receiver is changed.
func changeOption(options map[string]any, change func(receiver map[string]any)) map[string]any {
	out := maps.Clone(options)
	for key, value := range options {
		if optionName(key) == receiversOption {
			out[key] = changeReceivers(value, change)
		}
	}
	return out
}

// optionName is the option that a key spells.
func optionName(key string) string { return simpletuner.PresentName(strings.TrimPrefix(key, "--")) }

// changeReceivers is a copy of the value of webhook_config in which every receiver is changed.
func changeReceivers(value any, change func(receiver map[string]any)) any {
	switch v := value.(type) {
	case map[string]any:
		receiver := maps.Clone(v)
		change(receiver)
		return receiver
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = item
			if receiver, ok := item.(map[string]any); ok {
				list[i] = changeReceivers(receiver, change)
			}
		}
		return list
	case string:
		inner, err := parseStrict([]byte(v))
		if err != nil {
			return v // the path of a file
		}
		text, err := json.Marshal(changeReceivers(inner, change))
		if err != nil {
			return v
		}
		return string(text)
	}
	return value
}

func hideSecrets(receiver map[string]any) {
	for _, field := range secretFields {
		if value := receiver[field]; value != nil && value != "" {
			receiver[field] = secretMark
		}
	}
}

// withSecrets puts back the secrets for which a request has marks, and lists the marks that stand for none. A secret is that
// of a receiver with the same address, in the configuration of this name or among the stored receivers: so a mark sends no
// secret to another address.
func (s *Server) withSecrets(kind configs.Kind, name string, config any) (restored any, lost []finding) {
	var known []map[string]any // read when a mark is met
	restore := func(receiver map[string]any) {
		for _, field := range secretFields {
			if receiver[field] != secretMark {
				continue
			}
			if known == nil {
				known = s.knownReceivers(kind, name)
			}
			i := slices.IndexFunc(known, func(k map[string]any) bool { return sameAddress(k, receiver) && k[field] != nil })
			if i < 0 {
				lost = append(lost, finding{field: field, message: fmt.Sprintf(
					"%s: %s stands for a stored secret, and there is none for this address; send the secret itself", field, secretMark)})
				continue
			}
			receiver[field] = known[i][field]
		}
	}
	object, ok := config.(map[string]any)
	switch {
	case ok && kind == configs.Webhook:
		return changeReceivers(object, restore), lost
	case ok && kind == configs.Model:
		return changeOption(object, restore), lost
	}
	return config, nil
}

// importedSecrets is withSecrets for an import, which may be an export with metadata.
func (s *Server) importedSecrets(kind configs.Kind, name string, data map[string]any) (map[string]any, []finding) {
	inner, exported := data["config"].(map[string]any)
	metadata, described := data["_metadata"].(map[string]any)
	if !exported || !described {
		restored, lost := s.withSecrets(kind, name, data)
		return restored.(map[string]any), lost
	}
	if said, ok := metadata["name"].(string); ok && name == "" {
		name = said
	}
	restored, lost := s.withSecrets(kind, name, inner)
	data = maps.Clone(data)
	data["config"] = restored
	return data, lost
}

// knownReceivers are the receivers in a stored configuration, and all that have names of their own.
func (s *Server) knownReceivers(kind configs.Kind, name string) (known []map[string]any) {
	gather := func(receiver map[string]any) { known = append(known, maps.Clone(receiver)) }
	if d, err := s.options.Configs.Get(kind, name); err == nil && kind == configs.Model {
		changeOption(d.Options(), gather)
	}
	entries, _ := s.options.Configs.List(configs.Webhook)
	for _, entry := range entries {
		if d, err := s.options.Configs.Get(configs.Webhook, fmt.Sprint(entry["name"])); err == nil {
			gather(d.Options())
		}
	}
	return known
}

func sameAddress(a, b map[string]any) bool {
	return receiverOf(a).URL != "" && receiverOf(a).URL == receiverOf(b).URL
}
