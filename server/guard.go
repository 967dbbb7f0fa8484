package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// guard refuses, for every method and path, what a web page in the operator's browser could send (a foreign Host or
// Origin), and requests without the token where one is set. Only the health check needs no token.
func (s *Server) guard(c *fiber.Ctx) error {
	host := string(c.Context().Host()) // not c.Hostname(), which believes X-Forwarded-Host
	if !s.allowedHost(host) {
		return failure(http.StatusForbidden, "the host name %q is not served here; start the server with --host for it", host)
	}
	if origin := c.Get(fiber.HeaderOrigin); origin != "" {
		parsed, err := url.Parse(origin)
		if err != nil || !s.allowedHost(parsed.Host) {
			return failure(http.StatusForbidden, "requests from the web page %q are not allowed", origin)
		}
	}
	if s.options.Token == "" || c.Path() == "/health" {
		return c.Next()
	}
	token, found := strings.CutPrefix(c.Get(fiber.HeaderAuthorization), "Bearer ")
	given, wanted := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.options.Token))
	if !found || subtle.ConstantTimeCompare(given[:], wanted[:]) != 1 {
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
		return failure(http.StatusUnauthorized, "a valid token is needed: send the header Authorization: Bearer TOKEN; the token is in the file token of the data folder")
	}
	return c.Next()
}

// allowedHost accepts addresses of this machine's loopback, "localhost", and the configured names, with any port.
func (s *Server) allowedHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(strings.ToLower(host), "[]")
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return true
	}
	return host == "localhost" || slices.Contains(s.options.Hosts, host)
}
