package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"sync"

	"github.com/gofiber/fiber/v2"
	"github.com/mvrilo/go-redoc"
	"github.com/swaggest/swgui/v5/static"
)

// The pages work without a network: Swagger UI and ReDoc come from modules that embed them.
const (
	swaggerHTML = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>stepd API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body></html>
`
	swaggerJS = `SwaggerUIBundle({url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
`
	redocHTML = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>stepd API</title></head>
<body><div id="redoc"></div>
<script src="/redoc/redoc.standalone.js"></script><script src="/redoc/start.js"></script></body></html>
`
	redocJS = `Redoc.init("/openapi.json", {hideLoading: true}, document.getElementById("redoc"));
`
)

// pagePolicy lets a page run this server's scripts, and nothing else; both programs write styles into the page, and ReDoc
// searches in a worker that it makes itself.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// handler is a handler of the route table.
type handler = func(*Server, *fiber.Ctx) error

var (
	swaggerPage    = text(mediaHTML, swaggerHTML)
	swaggerStart   = text(mediaScript, swaggerJS)
	swaggerStyles  = asset(mediaStyles, func() ([]byte, error) { return static.FS.ReadFile("swagger-ui.css.gz") })
	swaggerProgram = asset(mediaScript, func() ([]byte, error) { return static.FS.ReadFile("swagger-ui-bundle.js.gz") })
	redocPage      = text(mediaHTML, redocHTML)
	redocStart     = text(mediaScript, redocJS)
	redocProgram   = asset(mediaScript, func() ([]byte, error) { return packed(redoc.JavaScript) })
)

// text answers a page, or the script that starts it.
func text(media, content string) handler {
	return func(_ *Server, c *fiber.Ctx) error {
		c.Set(fiber.HeaderContentSecurityPolicy, pagePolicy)
		c.Set(fiber.HeaderContentType, media+"; charset=utf-8")
		return c.SendString(content)
	}
}

// asset answers a file that is kept packed; clients that cannot unpack it get it as it was.
func asset(media string, load func() ([]byte, error)) handler {
	load = sync.OnceValues(load)
	return func(_ *Server, c *fiber.Ctx) error {
		data, err := load()
		if err != nil {
			return err
		}
		c.Set(fiber.HeaderContentType, media+"; charset=utf-8")
		c.Set(fiber.HeaderCacheControl, "max-age=3600")
		c.Append(fiber.HeaderVary, fiber.HeaderAcceptEncoding)
		if strings.Contains(c.Get(fiber.HeaderAcceptEncoding), "gzip") {
			c.Set(fiber.HeaderContentEncoding, "gzip")
			return c.Send(data)
		}
		plain, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return err
		}
		text, err := io.ReadAll(plain)
		if err != nil {
			return err
		}
		return c.Send(text)
	}
}

func packed(text string) ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}
