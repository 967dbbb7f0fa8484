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

// guard stands before every handler and knows no exceptions but the open routes of the table, by exact method and path:
// what matches no route, or one without a rule, is treated as closed.
func (s *Server) guard(c *fiber.Ctx) error {
	secure(c)
	if err := s.checkOrigin(c); err != nil {
		return err
	}
	if encoding := c.Get(fiber.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		// A compressed body can be a thousand times its size.
		return failure(http.StatusUnsupportedMediaType, "Content-Encoding: %q bodies are not read; send the body as it is", encoding)
	}
	if !s.open[endpoint{c.Method(), c.Path()}] && !s.authorized(c) {
		c.Set(fiber.HeaderWWWAuthenticate, "Bearer")
		return failure(http.StatusUnauthorized, "a valid token is needed: "+
			"send the header Authorization: Bearer TOKEN, or X-API-Key: TOKEN; the token is in the file token of the data folder")
	}
	return c.Next()
}

// browserRules are headers of every answer: what browsers must not do with it. Pages that run scripts loosen the content
// policy themselves.
var browserRules = [][2]string{
	{fiber.HeaderXContentTypeOptions, "nosniff"},
	{fiber.HeaderXFrameOptions, "DENY"},
	{fiber.HeaderXXSSProtection, "0"},
	{fiber.HeaderReferrerPolicy, "strict-origin-when-cross-origin"},
	{fiber.HeaderContentSecurityPolicy, "default-src 'none'; frame-ancestors 'none'"},
	{fiber.HeaderPermissionsPolicy, "camera=(), geolocation=(), microphone=()"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{fiber.HeaderVary, fiber.HeaderOrigin},
	{fiber.HeaderCacheControl, "no-store"},
}

func secure(c *fiber.Ctx) {
	for _, header := range browserRules {
		c.Set(header[0], header[1])
	}
}

// checkOrigin refuses what a web page in the operator's browser could send: requests under another host name (its DNS may
// lead here) and requests of pages of other hosts.
func (s *Server) checkOrigin(c *fiber.Ctx) error {
	// The host of the header, and of the first line where it has one; not c.Hostname(), which believes X-Forwarded-Host.
	for _, host := range []string{string(c.Request().Header.Host()), string(c.Context().Host())} {
		if !s.allowedHost(host) {
			return failure(http.StatusForbidden, "the host name %q is not served here; start the server with --host for it", host)
		}
	}
	if origin := c.Get(fiber.HeaderOrigin); origin != "" {
		parsed, err := url.Parse(origin)
		if err != nil || !s.allowedHost(parsed.Host) {
			return failure(http.StatusForbidden, "requests from the web page %q are not allowed", origin)
		}
	}
	reading := c.Method() == http.MethodGet || c.Method() == http.MethodHead
	if c.Get("Sec-Fetch-Site") == "cross-site" && !reading {
		return failure(http.StatusForbidden, "requests from web pages of other hosts are not allowed")
	}
	return nil
}

// keyHeader is where SimpleTuner's clients send their key.
const keyHeader = "X-API-Key"

// authorized compares digests, so that the time taken tells nothing of the token.
func (s *Server) authorized(c *fiber.Ctx) bool {
	if s.options.Token == "" {
		return true
	}
	scheme, token, _ := strings.Cut(c.Get(fiber.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		token = c.Get(keyHeader)
	}
	given, wanted := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.options.Token))
	return subtle.ConstantTimeCompare(given[:], wanted[:]) == 1
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
	return host == "localhost" || slices.ContainsFunc(s.options.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}
