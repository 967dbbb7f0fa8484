package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
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
// of a receiver with the same address, in the configuration of this name or else among the stored receivers: so a mark sends
// no secret to another address.
func (s *Server) withSecrets(kind configs.Kind, name string, config any) (restored any, lost []finding) {
	var own, stored []map[string]any // read when a mark is met
	read := false
	restore := func(receiver map[string]any) {
		for _, field := range secretFields {
			if receiver[field] != secretMark {
				continue
			}
			if !read {
				own, stored, read = s.knownReceivers(kind, name)
			}
			secrets := secretsFor(receiver, field, own)
			if len(secrets) == 0 {
				secrets = secretsFor(receiver, field, stored)
			}
			switch len(secrets) {
			case 0:
				lost = append(lost, finding{field: field, message: fmt.Sprintf(
					"%s: %s stands for a stored secret, and there is none for this address; send the secret itself", field, secretMark)})
			case 1:
				receiver[field] = secrets[0]
			default:
				lost = append(lost, finding{field: field, message: fmt.Sprintf(
					"%s: %s stands for one of %d secrets that are stored for this address; send the secret itself", field, secretMark, len(secrets))})
			}
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

// secretsFor are the secrets that a mark may stand for: those of known receivers with the address of the receiver or, where
// these have different ones, of those that are like it in everything else.
func secretsFor(receiver map[string]any, field string, known []map[string]any) []string {
	var secrets, alike []string
	for _, k := range known {
		secret, _ := k[field].(string)
		if secret == "" || !sameAddress(k, receiver) {
			continue
		}
		if !slices.Contains(secrets, secret) {
			secrets = append(secrets, secret)
		}
		if reflect.DeepEqual(withoutSecrets(k), withoutSecrets(receiver)) && !slices.Contains(alike, secret) {
			alike = append(alike, secret)
		}
	}
	if len(alike) > 0 {
		return alike
	}
	return secrets
}

func withoutSecrets(receiver map[string]any) map[string]any {
	rest := maps.Clone(receiver)
	for _, field := range secretFields {
		delete(rest, field)
	}
	return rest
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

// knownReceivers are those of the stored configuration itself, and all that have names of their own.
func (s *Server) knownReceivers(kind configs.Kind, name string) (own, stored []map[string]any, read bool) {
	gather := func(list *[]map[string]any) func(map[string]any) {
		return func(receiver map[string]any) { *list = append(*list, maps.Clone(receiver)) }
	}
	if d, err := s.options.Configs.Get(kind, name); err == nil {
		switch kind {
		case configs.Model:
			changeOption(d.Options(), gather(&own))
		case configs.Webhook:
			gather(&own)(d.Options())
		}
	}
	entries, _ := s.options.Configs.List(configs.Webhook)
	for _, entry := range entries {
		if d, err := s.options.Configs.Get(configs.Webhook, fmt.Sprint(entry["name"])); err == nil {
			gather(&stored)(d.Options())
		}
	}
	return own, stored, true
}

func sameAddress(a, b map[string]any) bool {
	return receiverOf(a).URL != "" && receiverOf(a).URL == receiverOf(b).URL
}
