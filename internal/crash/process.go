package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience bounds every wait; what takes longer is a violation.
const patience = time.Minute

// poll is the pause between two looks at something that has to happen.
const poll = 5 * time.Millisecond

// target is the process under test, started and killed again and again on the same address and folders.
type target struct {
	command func(address string) *exec.Cmd
	address string
	log     string
	process *exec.Cmd
}

// start does not wait until the server answers.
func (s *target) start() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = nil
	process := s.command(s.address)
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return err
	}
	s.process = process
	return nil
}

// errNotStarted: the server was to be ended, and there is none.
var errNotStarted = errors.New("the server could not be started")

// ready waits until the server answers.
func (s *target) ready(ctx context.Context) error {
	return until(ctx, "the server answers", func() (bool, error) {
		reply, err := http.Get("http://" + s.address + "/health")
		if err != nil {
			return false, nil
		}
		return true, reply.Body.Close()
	})
}

// kill ends the server with SIGKILL, as a power cut of its process, and waits until its workers have noticed.
func (s *target) kill(ctx context.Context) error {
	if s.process == nil {
		return errNotStarted
	}
	workers := children(s.process.Process.Pid)
	if err := s.process.Process.Kill(); err != nil {
		return err
	}
	_ = s.process.Wait() // reports the signal
	return until(ctx, fmt.Sprintf("the workers %v of the killed server end", workers), func() (bool, error) {
		for _, pid := range workers {
			if alive(pid) {
				return false, nil
			}
		}
		return true, nil
	})
}

// terminate ends the server with SIGTERM; it has to end in order.
func (s *target) terminate() error {
	if s.process == nil {
		return errNotStarted
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	limit := time.AfterFunc(patience, func() { _ = s.process.Process.Kill() })
	defer limit.Stop()
	if err := s.process.Wait(); err != nil {
		return fmt.Errorf("a server that was told to end: %w", err)
	}
	return nil
}

// worker is the process id of a worker at work, 0 without one.
func (s *target) worker() int {
	if s.process == nil {
		return 0
	}
	for _, pid := range children(s.process.Process.Pid) {
		if alive(pid) {
			return pid
		}
	}
	return 0
}

// children lists the child processes of a process.
func children(parent int) []int {
	var found []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if _, ppid, ok := readStat(path); ok && ppid == parent {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
				found = append(found, pid)
			}
		}
	}
	return found
}

// alive tells whether a process runs; one that nobody has waited for yet does not.
func alive(pid int) bool {
	state, _, ok := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return ok && state != "Z" && state != "X"
}

// readStat returns the state and the parent of a process.
func readStat(path string) (state string, parent int, ok bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", 0, false
	}
	// The name in parentheses may hold anything.
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(fields) < 2 {
		return "", 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err == nil
}

// until waits for something that has to happen.
func until(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited %v until %s", patience, what), ctx.Err())
		}
	}
}
