package server

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/job/simpletuner"
)

// jobReceivers are options in which webhook_config lists what is really sent to, and what is to be said about that.
func (s *Server) jobReceivers(options simpletuner.Options) (simpletuner.Options, []string) {
	if s.options.Configs == nil || options[receiversOption] == nil {
		return options, nil
	}
	options = maps.Clone(options)
	options[receiversOption] = s.linkedReceiver(options[receiversOption])
	kept, own := s.withoutOwnCallback(options[receiversOption])
	if len(own) == 0 {
		return options, nil
	}
	if options[receiversOption] = kept; len(kept) == 0 {
		delete(options, receiversOption)
	}
	return options, []string{fmt.Sprintf("--%s: %s is this server, whose /api/events has the events anyway; nothing is sent there",
		receiversOption, strings.Join(own, ", "))}
}

// linkedReceiver is the stored receiver of a name, by which the web interface of SimpleTuner links it; other values stay.
func (s *Server) linkedReceiver(value any) any {
	name, ok := value.(string)
	if !ok || strings.ContainsAny(name, "/{[") {
		return value
	}
	if d, err := s.options.Configs.Get(configs.Webhook, name); err == nil {
		return d.Config
	}
	return value
}

// withoutOwnCallback leaves out receivers at this server's own /callback, and lists their addresses: SimpleTuner's server
// puts itself into the configurations that it saves.
func (s *Server) withoutOwnCallback(value any) (kept []any, own []string) {
	if text, ok := value.(string); ok {
		if inner, err := parseStrict([]byte(text)); err == nil {
			value = inner
		}
	}
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, item := range list {
		if receiver, ok := item.(map[string]any); ok && s.isOwnCallback(receiverOf(receiver).URL) {
			own = append(own, receiverOf(receiver).URL)
		} else {
			kept = append(kept, item)
		}
	}
	return kept, own
}

func (s *Server) isOwnCallback(address string) bool {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Path != "/callback" || !s.allowedHost(parsed.Host) {
		return false
	}
	addresses := s.addresses.Load()
	return addresses != nil && slices.ContainsFunc(*addresses, func(listening net.Addr) bool {
		_, port, err := net.SplitHostPort(listening.String())
		return err == nil && port == parsed.Port()
	})
}
