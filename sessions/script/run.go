package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stepd/stepd/sessions/internal/child"
)

// Limits of a script.
const (
	// DefaultTimeout ends scripts that name no other.
	DefaultTimeout = 10 * time.Minute
	// MaxOutput is how many bytes of output are kept; the rest is read and dropped.
	MaxOutput = 1 << 20
	// killGrace is the time between asking a script to end and killing it.
	killGrace = 2 * time.Second
	// tailBytes of the output are in the Result.
	tailBytes = 4 << 10
)

// environment lists the variables that scripts inherit: nothing that could hold a secret.
var environment = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}

// Command is one call of a script.
type Command struct {
	// Argv is the program and its arguments, without placeholders.
	Argv []string
	// Dir is the working directory.
	Dir string
	// Timeout; zero: DefaultTimeout.
	Timeout time.Duration
	// Output is given each printed line; may be nil. It is called from another goroutine.
	Output func(line string)
}

// Result tells how a script ended.
type Result struct {
	// Problem is empty when the script ended by itself with exit code 0.
	Problem  string
	ExitCode int // -1: it did not start, or a signal ended it
	Seconds  float64
	// Tail is the end of what it printed.
	Tail string
}

// Run starts a script, waits for it, and returns when it and everything of its process group have ended: by themselves,
// at the deadline, or with ctx.
func Run(ctx context.Context, c Command) Result {
	started := time.Now()
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it was killed: it ran for more than %v", timeout))
	defer cancel()
	output := &output{line: c.Output}
	state, err := run(ctx, c, output)
	output.flush()
	result := Result{ExitCode: -1, Seconds: time.Since(started).Seconds(), Tail: output.tail()}
	if state != nil {
		result.ExitCode = state.ExitCode()
	}
	switch {
	case ctx.Err() != nil && err != nil:
		result.Problem = context.Cause(ctx).Error()
		if errors.Is(context.Cause(ctx), context.Canceled) {
			result.Problem = "it was killed: the run ended"
		}
	case err != nil:
		result.Problem = err.Error()
	}
	return result
}

func run(ctx context.Context, c Command, output *output) (*os.ProcessState, error) {
	path, err := program(c.Argv[0])
	if err != nil {
		return nil, err
	}
	printed, print, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	defer printed.Close()
	cmd := exec.Command(path, c.Argv[1:]...)
	cmd.Args[0] = c.Argv[0]
	cmd.Dir = c.Dir
	cmd.Env = inherited(os.Environ())
	cmd.Stdout, cmd.Stderr = print, print
	// A group of its own, so that all of it can be killed. The kernel kills the script when the thread that started it
	// ends, hence the locked thread: then it does so exactly when this process dies.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	_ = print.Close()
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	silent := make(chan struct{}) // closed when nobody can print any more
	go func() {
		defer close(silent)
		_, _ = io.Copy(output, printed)
	}()
	told := awaitEnd(ctx, cmd.Process.Pid, silent)
	// What the script left behind in its group goes with it. Until Wait, its number cannot be another process's.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	err = cmd.Wait()
	// Waits for nobody who has left the group and still holds the pipe.
	_ = printed.SetReadDeadline(time.Now().Add(killGrace))
	<-silent
	if told && err == nil {
		err = ctx.Err()
	}
	return cmd.ProcessState, err
}

// awaitEnd returns when a script has ended and nobody prints for it any more, or killGrace later. At the end of ctx it
// tells the script to end, and kills it when it does not.
func awaitEnd(ctx context.Context, pid int, silent <-chan struct{}) (told bool) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = child.AwaitExit(pid)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		told = true
		_ = syscall.Kill(-pid, syscall.SIGTERM)
	}
	grace := time.NewTimer(killGrace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		<-ended
		return told
	}
	select {
	case <-silent:
	case <-ctx.Done():
	case <-grace.C:
	}
	return told
}

// program finds an executable; relative paths start at the server's working directory, not at the run folder.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return "", fmt.Errorf("find program: %w", err)
	}
	return filepath.Abs(path)
}

func inherited(all []string) []string {
	kept := []string{}
	for _, entry := range all {
		if name, _, ok := strings.Cut(entry, "="); ok && slices.Contains(environment, name) {
			kept = append(kept, entry)
		}
	}
	return kept
}
