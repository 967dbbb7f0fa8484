package trial

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Server is a `stepd serve` process without authorization.
type Server struct {
	Program string // path of stepd
	Folder  string // its data
	Log     string // file that its output is added to

	Dir       string   // working folder; empty: that of this process
	Arguments []string // more of `stepd serve`

	Ready time.Duration // from the start of the process to its first answer

	Address string // HOST:PORT; empty until the first start chooses a free one

	process *exec.Cmd
}

// Start runs the server and waits until it answers. A second start uses the same address and data.
func (s *Server) Start() error {
	if s.Address == "" {
		var err error
		if s.Address, err = FreeAddress(); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	s.process = exec.Command(s.Program, append([]string{"serve", "--listen", s.Address, "--data", s.Folder, "--no-auth"}, s.Arguments...)...)
	s.process.Dir = s.Dir
	s.process.Stdout, s.process.Stderr = log, log
	began := time.Now()
	if err := s.process.Start(); err != nil {
		return err
	}
	for deadline := began.Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if reply, err := http.Get(s.URL() + "/health"); err == nil {
			_ = reply.Body.Close()
			s.Ready = time.Since(began)
			return nil
		}
	}
	return fmt.Errorf("the server does not answer on %s", s.Address)
}

// URL of the server, without a slash at its end.
func (s *Server) URL() string { return "http://" + s.Address }

// PID is the number of the running process.
func (s *Server) PID() int { return s.process.Process.Pid }

// Kill ends the server as a power cut would. It may be called when none runs.
func (s *Server) Kill() {
	if s.process != nil && s.process.Process != nil {
		_ = s.process.Process.Signal(syscall.SIGKILL)
		_ = s.process.Wait()
		s.process = nil
	}
}

// Call sends a request with an optional JSON body and decodes the answer into reply, if that is not nil.
func (s *Server) Call(method, path string, body, reply any) error {
	return JSON(context.Background(), method, s.URL()+path, nil, body, reply)
}

// Stop ends the server politely.
func (s *Server) Stop() error {
	process := s.process
	s.process = nil
	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return process.Wait()
}
