package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

// server is the `stepd serve` process that the commands talk to.
type server struct {
	program, dir string
	receiver     string // HOST:PORT of the webhook
	address      string
	process      *exec.Cmd
}

func (s *server) log() string { return filepath.Join(s.dir, "server.log") }

// start runs the server in the workspace and waits until it answers.
func (s *server) start() error {
	var err error
	if s.address, err = trial.FreeAddress(); err != nil {
		return err
	}
	log, err := os.Create(s.log())
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.process = exec.Command(s.program, "serve", "--listen", s.address, "--no-auth", "--data", "stepd", "--config-dir", "config", "--models", "models",
		"--allow-webhook", s.receiver)
	s.process.Dir, s.process.Stdout, s.process.Stderr = s.dir, log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s.get("/health", nil) == nil {
			return nil
		}
	}
	return fmt.Errorf("the server does not answer on %s; its log is in %s", s.address, s.log())
}

// kill ends the server at once, if it runs.
func (s *server) kill() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		_ = s.process.Wait()
	}
}

// stop ends the server politely.
func (s *server) stop() error {
	process := s.process
	s.process = nil
	return errors.Join(process.Process.Signal(syscall.SIGTERM), process.Wait())
}

// get decodes a JSON answer into reply, if that is not nil.
func (s *server) get(path string, reply any) error {
	return trial.JSON(context.Background(), "GET", "http://"+s.address+path, nil, nil, reply)
}

// receiver stands for the https://example.com of the tutorial's webhook.
type receiver struct {
	address string
	server  *http.Server
	count   atomic.Int64 // of messages with a type
}

func listen() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{address: listener.Addr().String()}
	r.server = &http.Server{ReadTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		var event struct {
			Type string `json:"type"`
		}
		if json.NewDecoder(request.Body).Decode(&event) == nil && event.Type != "" && request.URL.Path == "/simpletuner" {
			r.count.Add(1)
		}
	})}
	go func() { _ = r.server.Serve(listener) }() // until close
	return r, nil
}

func (r *receiver) close() { _ = r.server.Close() }
