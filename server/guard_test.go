package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"
)

const testToken = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

var everyMethod = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace,
}

// concrete is a path that the route matches.
func (r Route) concrete() string {
	return strings.NewReplacer("{id}", "one", "{name}", "one").Replace(documentPath(r.Path))
}

// status sends a request in memory, as there are tens of thousands, and returns the status of the answer alone.
func (a *api) status(method, path string, headers ...string) int {
	a.t.Helper()
	request := httptest.NewRequest(method, "http://localhost/", nil)
	request.RequestURI = path
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
	}
	response, err := a.server.app.Test(request, int(testTimeout.Milliseconds()))
	var tooLong *fasthttp.ErrSmallBuffer
	if errors.As(err, &tooLong) {
		return http.StatusRequestHeaderFieldsTooLarge // which Test reports so, and a connection answers
	}
	require.NoError(a.t, err, "%s %s", method, path)
	require.NoError(a.t, response.Body.Close())
	return response.StatusCode
}

func TestEveryRouteHasARule(t *testing.T) {
	for _, route := range routes {
		assert.Contains(t, []Access{Open, Token}, route.Access, "%s %s", route.Method, route.Path)
	}
	a := &api{t: t, server: New(Options{Token: testToken})}
	a.server.add(Route{Method: http.MethodGet, Path: "/forgotten", Handle: func(_ *Server, c *fiber.Ctx) error { return c.SendString("open") }})
	assert.Equal(t, http.StatusUnauthorized, a.status("GET", "/forgotten"))
	assert.Equal(t, http.StatusForbidden, a.status("GET", "/forgotten", "Authorization", "Bearer "+testToken), "refused even with the token")
}

// Each route under each method with everything that is not the token.
func TestClosedRoutesAskForTheToken(t *testing.T) {
	a := serve(t, Options{Token: testToken})
	credentials := map[string][]string{
		"none":            nil,
		"wrong":           {"Authorization", "Bearer " + strings.Repeat("0", len(testToken))},
		"truncated":       {"Authorization", "Bearer " + testToken[:len(testToken)-1]},
		"extended":        {"Authorization", "Bearer " + testToken + "0"},
		"doubled":         {"Authorization", "Bearer " + testToken + ", Bearer " + testToken},
		"upper case":      {"Authorization", "Bearer " + strings.ToUpper(testToken)},
		"empty":           {"Authorization", "Bearer "},
		"without scheme":  {"Authorization", testToken},
		"another scheme":  {"Authorization", "Basic " + testToken},
		"a wrong key":     {"X-API-Key", testToken[1:]},
		"an empty key":    {"X-API-Key", ""},
		"in a cookie":     {"Cookie", "token=" + testToken + "; access_token=" + testToken},
		"another header":  {"Token", testToken, "Proxy-Authorization", "Bearer " + testToken},
		"claims to be us": {"X-Forwarded-For", "127.0.0.1", "X-Real-Ip", "127.0.0.1", "Forwarded", "for=127.0.0.1", "X-Forwarded-Host", "localhost"},
	}
	for _, route := range routes {
		for _, method := range everyMethod {
			if a.server.open[endpoint{method, route.Path}] {
				assert.Equal(t, http.StatusOK, a.status(method, route.concrete()), "%s %s is open", method, route.Path)
				continue
			}
			for name, headers := range credentials {
				assert.Equal(t, http.StatusUnauthorized, a.status(method, route.concrete(), headers...), "%s %s with token: %s", method, route.Path, name)
			}
			for _, query := range []string{"?token=", "?access_token=", "?api_key=", "?Authorization=Bearer%20"} {
				assert.Equal(t, http.StatusUnauthorized, a.status(method, route.concrete()+query+testToken), "%s %s%s", method, route.Path, query)
			}
		}
		if route.Access == Token {
			long := a.status(route.Method, route.concrete(), "Authorization", "Bearer "+strings.Repeat("0", 1_000_000))
			assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, long, "%s %s with a token of a megabyte", route.Method, route.Path)
			for name, value := range map[string]string{"Authorization": "Bearer " + testToken, "authorization": "bearer " + testToken, "X-API-Key": testToken} {
				// Streams answer without end, and long polls at once.
				response := a.open(route.Method, route.concrete()+"?timeout=0", nil, name, value)
				require.NoError(t, response.Body.Close())
				assert.NotContains(t, []int{401, 403, 405}, response.StatusCode, "%s %s with the token in %s", route.Method, route.Path, name)
			}
		}
	}
}

// No spelling of a path and no header makes a closed route reachable.
func TestNoWayAroundTheToken(t *testing.T) {
	a := serve(t, Options{Token: testToken})
	tricks := []func(path string) string{
		func(p string) string { return p + "/" },
		func(p string) string { return "/" + p },
		func(p string) string { return strings.ReplaceAll(p, "/", "//") },
		func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%2f") },
		func(p string) string { return "/%2f" + p[1:] },
		func(p string) string { return strings.ToUpper(p) },
		func(p string) string { return fmt.Sprintf("/%%%02x%s", p[1], p[2:]) },
		func(p string) string { return "/." + p },
		func(p string) string { return "/health/.." + p },
		func(p string) string { return "/health/%2e%2e" + p },
		func(p string) string { return "/docs/.." + p },
		func(p string) string { return p + ";/health" },
		func(p string) string { return p + "/../../health" },
		func(p string) string { return p + "%00" },
		func(p string) string { return p + "%20" },
		func(p string) string { return p + ".json" },
		func(p string) string { return p + "?/health" },
		func(p string) string { return p + "#/health" },
	}
	headers := [][]string{
		{"X-HTTP-Method-Override", "GET"}, {"X-Method-Override", "GET"}, {"X-Original-URL", "/health"}, {"X-Rewrite-URL", "/health"},
		{"X-Forwarded-Prefix", "/health"}, {"X-Original-Method", "GET"},
		{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
		{"Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c", "HTTP2-Settings", "AAMAAABkAAQAoAAAAAIAAAAA"},
	}
	for _, route := range routes {
		if route.Access == Open {
			continue
		}
		for _, method := range everyMethod {
			for _, trick := range tricks {
				path := trick(route.concrete())
				assert.Equal(t, http.StatusUnauthorized, a.status(method, path), "%s %s", method, path)
			}
			for _, header := range headers {
				assert.Equal(t, http.StatusUnauthorized, a.status(method, route.concrete(), header...), "%s %s %v", method, route.Path, header)
			}
		}
	}
}

// What a web page can send is refused on every route and method, token or not.
func TestForeignPagesAreRefused(t *testing.T) {
	foreign := [][]string{
		{"Host", "evil.example.org"}, {"Host", "127.0.0.1.evil.example.org"}, {"Host", "localhost.evil.example.org:80"}, {"Host", "10.0.0.1"},
		{"Host", "2130706433"}, {"Host", "0.0.0.0"}, {"Host", "[::ffff:10.0.0.1]"}, {"Host", "user@localhost"}, {"Host", "localhost."},
		{"Host", "evil.example.org", "X-Forwarded-Host", "localhost", "Forwarded", "host=localhost"},
		{"Origin", "http://evil.example.org"}, {"Origin", "null"}, {"Origin", "http://localhost.evil.example.org"}, {"Origin", "file://"},
		{"Origin", "http://localhost@evil.example.org"}, {"Origin", "%"}, {"Origin", "localhost"},
		{"Origin", "http://evil.example.org", "Content-Type", mediaForm},
		{"Origin", "http://evil.example.org", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
	}
	for _, a := range []*api{serve(t, Options{}), serve(t, Options{Token: testToken})} {
		for _, route := range routes {
			for _, method := range everyMethod {
				for _, headers := range foreign {
					status := a.status(method, route.concrete(), append(headers, "Authorization", "Bearer "+testToken)...)
					assert.Equal(t, http.StatusForbidden, status, "%s %s %v", method, route.Path, headers)
				}
				if method != http.MethodGet && method != http.MethodHead {
					status := a.status(method, route.concrete(), "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer "+testToken)
					assert.Equal(t, http.StatusForbidden, status, "%s %s from another site", method, route.Path)
				}
			}
		}
	}
}

func TestRequestsThatNoClientSends(t *testing.T) {
	a := serve(t, Options{Token: testToken})
	const token = "Authorization: Bearer " + testToken + "\r\n"
	for _, test := range []struct {
		request string
		status  []int
	}{
		{"GET /sessions HTTP/1.0\r\n" + token + "\r\n", []int{400, 403}},
		{"GET http://evil.example.org/sessions HTTP/1.1\r\nHost: localhost\r\n" + token + "\r\n", []int{400, 403}},
		{"GET /sessions HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.org\r\n" + token + "\r\n", []int{400, 403}},
		{"GET /sessions HTTP/1.1\r\nHost: evil.example.org\r\nHost: localhost\r\n" + token + "\r\n", []int{400, 403}},
		{"GET /sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer wrong\r\nAuthorization: Bearer wrong\r\n\r\n", []int{401}},
		{"GET /sessions\x00/health HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 401}},
		{"GET /health /sessions HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{400, 401}},
		{"nonsense\r\n\r\n", []int{400}},
		{"POST /sessions HTTP/1.1\r\nHost: localhost\r\n" + token + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400, 422}},
		{"POST /sessions HTTP/1.1\r\nHost: localhost\r\n" + token + "Content-Length: -1\r\n\r\n", []int{400}},
		{"POST /sessions HTTP/1.1\r\nHost: localhost\r\n" + token + "Content-Length: 99999999999\r\n\r\n", []int{413}},
	} {
		response := a.raw(test.request)
		assert.Contains(t, test.status, response.status, "%q", test.request)
		assert.Equal(t, "nosniff", response.header.Get("X-Content-Type-Options"), "%q", test.request)
	}
}

func TestEveryAnswerBindsBrowsers(t *testing.T) {
	a := serve(t, Options{Token: testToken})
	for _, path := range []string{"/health", "/docs", "/redoc", "/openapi.json", "/sessions", "/nothing"} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			r := a.request(method, path, nil)
			for _, rule := range browserRules {
				assert.NotEmpty(t, r.header.Get(rule[0]), "%s of %s %s", rule[0], method, path)
			}
			assert.Contains(t, r.header.Get("Content-Security-Policy"), "default-src 'none'", "%s %s", method, path)
		}
	}
}

func TestRoutingErrors(t *testing.T) {
	a := serve(t, Options{})
	r := a.request("PUT", "/sessions", nil)
	assert.Equal(t, http.StatusMethodNotAllowed, r.status)
	assert.Equal(t, "GET, POST", r.header.Get("Allow"))
	r = a.request("DELETE", "/health", nil)
	assert.Equal(t, "GET, HEAD", r.header.Get("Allow"))

	for path, target := range map[string]string{"/sessions/": "/sessions", "/sessions/one/": "/sessions/one", "/docs/?a=b": "/docs?a=b",
		"/api/configs": "/api/configs/", "/api/training/status/": "/api/training/status"} {
		assert.Equal(t, http.StatusTemporaryRedirect, a.status("GET", path), path)
		response := a.raw("POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		assert.Equal(t, target, strings.TrimPrefix(response.header.Get("Location"), "http://localhost"), path)
	}
	for _, path := range []string{"/", "//", "/nothing/", "//evil.example.org/", "/sessions//", "/SESSIONS", "/health/x"} {
		assert.Equal(t, http.StatusNotFound, a.status("GET", path), path)
	}
}
