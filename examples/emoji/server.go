package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// server is the `stepd serve` process that the demo talks to.
type server struct {
	program, out, log string
	address           string
	ready             time.Duration // from exec to the first answered request
	process           *exec.Cmd
}

// command runs another subcommand of the program to its end.
func (s *server) command(args ...string) error {
	output, err := exec.Command(s.program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("stepd %s: %w\n%s", args[0], err, output)
	}
	return nil
}

// start runs the server and waits until it answers. A second start uses the same address and data folder.
func (s *server) start() error {
	if s.address == "" {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.address = free.Addr().String()
		_ = free.Close()
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
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequest(method, "http://"+s.address+path, content)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, data)
	}
	if reply == nil {
		return nil
	}
	return json.Unmarshal(data, reply)
}
