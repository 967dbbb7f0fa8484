// Package server answers the HTTP APIs. A handler parses, calls one method of package sessions and encodes; routes.go is
// the only table of routes.
//
// Handlers run on fasthttp: a *fiber.Ctx and the strings it returns are reused after the handler, so what is kept is copied,
// and nothing tells a stream that its client left, so it looks at the connection now and then. A request's own context is
// not one to wait with: it only tells of the shutdown, and fasthttp changes it then without a lock.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/configs"
	"github.com/stepd/stepd/sessions/dataset"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/aitoolkit"
	"github.com/stepd/stepd/sessions/notify"
)

// Options configure a Server.
type Options struct {
	Manager *sessions.Manager
	// Roots are where relative names in jobs start.
	Roots aitoolkit.Roots
	// Configs are the environments of the SimpleTuner API.
	Configs *configs.Store
	// Deliver sends one message to a receiver of events, to test it; nil: receivers cannot be tested.
	Deliver func(ctx context.Context, receiver job.Webhook, payload Payload) error
	// CheckReceiver lists what is wrong with a receiver of events; nil: only its shape is checked.
	CheckReceiver func(ctx context.Context, receiver job.Webhook) []job.Problem
	// Receivers tells how far the receivers of a session have got; nil: nothing is sent.
	Receivers func(ctx context.Context, session *sessions.Session) ([]notify.Status, error)
	// Prober reads the sizes of pictures, which a training of whole epochs needs to know its length.
	Prober dataset.Prober
	// Script returns the command line that a client means, and whether the operator allows it; nil: none is allowed.
	Script func(command string) (line string, allowed bool)
	// Token that requests must carry as "Authorization: Bearer …"; empty: none is asked for.
	Token string
	// Hosts are the names, besides loopback ones, under which the server may be addressed.
	Hosts  []string
	Limits Limits
	// Version of the native core.
	Version string
	Logger  *zap.Logger
}

// Server serves the APIs on any number of addresses.
type Server struct {
	options   Options
	app       *fiber.App
	open      map[endpoint]bool // what is answered without a token
	document  []byte            // the OpenAPI document
	streams   atomic.Int64      // open ones
	hashing   atomic.Int64      // checkpoints that are read whole
	closing   chan struct{}     // closed by Shutdown; streams end
	hub       *hub
	upgrade   fiber.Handler              // to a WebSocket
	addresses atomic.Pointer[[]net.Addr] // that Serve listens on
	// jobConfig is that of the job that /status was last asked about.
	jobConfig atomic.Pointer[jobConfig]
}

// endpoint is an exact method and path.
type endpoint struct{ method, path string }

// New builds a server; nothing is bound yet.
func New(options Options) *Server {
	if options.Logger == nil {
		options.Logger = zap.NewNop()
	}
	options.Limits = options.Limits.complete()
	s := &Server{options: options, open: map[endpoint]bool{}, closing: make(chan struct{})}
	s.app = fiber.New(fiber.Config{
		AppName:               "stepd",
		BodyLimit:             bodyLimit,
		Concurrency:           maxConnections,
		DisableStartupMessage: true,
		ErrorHandler:          writeError(options.Logger),
		ReadTimeout:           30 * time.Second,
		WriteTimeout:          options.Limits.Stall, // of an answer; streams move it on with everything they send
		IdleTimeout:           2 * time.Minute,
		Immutable:             true,
		// One spelling of a path is one route: the guard and the router must never see different things.
		StrictRouting: true,
		CaseSensitive: true,
		// Bodies are parsed by handlers, after the guard.
		DisablePreParseMultipartForm: true,
		ReadBufferSize:               headerLimit,
	})
	var err error
	if s.document, err = openAPI(routes); err != nil {
		options.Logger.Error("the OpenAPI document is missing", zap.Error(err))
	}
	s.upgrade = s.newUpgrade()
	if options.Manager != nil {
		s.hub = newHub(options.Manager, options.Logger)
		go s.watch()
	}
	s.app.Use(s.recoverPanics, s.guard)
	for _, route := range routes {
		s.add(route)
	}
	return s
}

// watch lets the hub run until the server shuts down.
func (s *Server) watch() {
	ctx, cancel := s.until()
	defer cancel()
	s.hub.run(ctx)
}

// add registers a route; a route without a rule of access is refused to everyone. Open pages answer HEAD as well.
func (s *Server) add(route Route) {
	methods := []string{route.Method}
	if route.Access == Open && route.Method == http.MethodGet {
		methods = append(methods, http.MethodHead)
	}
	for _, method := range methods {
		s.open[endpoint{method, route.Path}] = route.Access == Open
		s.app.Add(method, route.Path, func(c *fiber.Ctx) error {
			if route.Access != Open && route.Access != Token {
				return failure(http.StatusForbidden, "%s %s has no rule of access", route.Method, route.Path)
			}
			if err := checkQuery(c, route.Spec.Query); err != nil {
				return err
			}
			return route.Handle(s, c)
		})
	}
}

// Listen binds every address before it serves any, so that a port in use is reported before work starts.
func Listen(addresses []string) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, address := range addresses {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			for _, l := range listeners {
				_ = l.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", address, err)
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

// Serve answers on the listeners until Shutdown, and returns the first error of any of them.
func (s *Server) Serve(listeners []net.Listener) error {
	addresses := make([]net.Addr, len(listeners))
	for i, listener := range listeners {
		addresses[i] = listener.Addr()
	}
	s.addresses.Store(&addresses)
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		go func() { failed <- s.app.Listener(listener) }()
	}
	var first error
	for range listeners {
		if err := <-failed; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Shutdown ends streams, lets running requests finish until ctx ends, and stops Serve.
func (s *Server) Shutdown(ctx context.Context) error {
	close(s.closing)
	err := s.app.ShutdownWithContext(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// recoverPanics answers 500 when a handler panics, so that one request cannot end the server.
func (s *Server) recoverPanics(c *fiber.Ctx) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("handler panicked: %v", r)
		}
	}()
	return c.Next()
}

// until returns a context that ends when the server shuts down.
func (s *Server) until() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
