package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

// server is the `stepd serve` process that the demo talks to.
type server struct {
	program, out, log string
	address           string
	ready             time.Duration // from exec to the first answered request
	process           *exec.Cmd
}

// start runs the server and waits until it answers. A second start uses the same address and data folder.
func (s *server) start() error {
	if s.address == "" {
		var err error
		if s.address, err = trial.FreeAddress(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.process = exec.Command(s.program, "serve", "--listen", s.address, "--data", filepath.Join(s.out, "data"), "--no-auth")
	s.process.Stdout, s.process.Stderr = log, log
	began := time.Now()
	if err := s.process.Start(); err != nil {
		return err
	}
	for deadline := began.Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if reply, err := http.Get("http://" + s.address + "/health"); err == nil {
			_ = reply.Body.Close()
			s.ready = time.Since(began)
			return nil
		}
	}
	return fmt.Errorf("the server does not answer on %s", s.address)
}

// kill ends the server as a power cut would.
func (s *server) kill() {
	if s.process != nil && s.process.Process != nil {
		_ = s.process.Process.Signal(syscall.SIGKILL)
		_ = s.process.Wait()
		s.process = nil
	}
}

// stop ends the server politely.
func (s *server) stop() error {
	process := s.process
	s.process = nil
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return process.Wait()
}

// call sends a request with an optional JSON body and decodes the answer into reply, if that is not nil.
func (s *server) call(method, path string, body, reply any) error {
	return trial.JSON(context.Background(), method, "http://"+s.address+path, nil, body, reply)
}
