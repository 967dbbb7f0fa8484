package worker

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stepd/stepd/sessions/internal/child"
)

// Command is a Launcher of child processes.
type Command struct {
	// Path of the program, usually os.Executable, and its arguments without the program's name.
	Path string
	Args []string
	// Env is added to the environment of this process, from which secrets are left out.
	Env []string
}

var _ Launcher = Command{}

// Launch implements Launcher.
func (c Command) Launch(output func(line string)) (Process, error) {
	workerIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, workerOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, workerIn.Close(), in.Close())
	}
	printed, print := io.Pipe()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(withoutSecrets(os.Environ()), c.Env...)
	cmd.ExtraFiles = []*os.File{workerIn, workerOut} // fromSupervisor, toSupervisor
	cmd.Stdout, cmd.Stderr = print, print
	// A Unix session of its own: Ctrl-C reaches only the server, and what the worker started can be found and ended.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = 2 * time.Second
	err = cmd.Start()
	closing := errors.Join(workerIn.Close(), workerOut.Close())
	if err != nil {
		return nil, errors.Join(err, closing, in.Close(), out.Close(), print.Close())
	}
	p := &process{cmd: cmd, in: in, out: out, ended: make(chan struct{})}
	lines := make(chan struct{})
	go func() {
		defer close(lines)
		readLines(printed, output)
	}()
	go p.wait(print, lines)
	return p, nil
}

// withoutSecrets drops variables whose names look like credentials; a worker needs none.
func withoutSecrets(environment []string) []string {
	return slices.DeleteFunc(environment, func(entry string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(entry), "=")
		return slices.ContainsFunc([]string{"TOKEN", "SECRET", "PASSWORD", "API_KEY", "CREDENTIAL"}, func(word string) bool {
			return strings.Contains(name, word)
		})
	})
}

// maxLine bounds what is kept of one printed line.
const maxLine = 64 << 10

// readLines reads to the end whatever is printed; longer lines come in pieces.
func readLines(r io.Reader, output func(line string)) {
	reader := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := reader.ReadSlice('\n')
		if text := strings.TrimRight(string(line), "\r\n \t"); text != "" {
			output(text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

type process struct {
	cmd     *exec.Cmd
	in, out *os.File
	closing sync.Once

	mu    sync.Mutex // guards signals against a process id that is in use again
	done  bool
	exit  Exit          // valid when ended is closed
	ended chan struct{} // closed by wait
}

func (p *process) wait(print io.Closer, lines <-chan struct{}) {
	// Until Wait, the worker's number cannot be that of another process.
	_ = child.AwaitExit(p.cmd.Process.Pid)
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	// What the worker started may outlive it; nothing of a worker may.
	killSession(p.cmd.Process.Pid)
	err := p.cmd.Wait()
	_ = print.Close()
	<-lines
	p.exit = classify(p.cmd.ProcessState, err)
	close(p.ended)
}

func (p *process) Read(data []byte) (int, error) {
	n, err := p.out.Read(data)
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	return n, err
}

func (p *process) Write(data []byte) (int, error) { return p.in.Write(data) }

// Close ends the worker's input. What it wrote is read until its own end.
func (p *process) Close() error {
	var err error
	p.closing.Do(func() { err = errors.Join(p.in.Close(), p.out.Close()) })
	return err
}

func (p *process) PID() int { return p.cmd.Process.Pid }

func (p *process) Terminate() { p.signal(syscall.SIGTERM) }

func (p *process) Kill() { p.signal(syscall.SIGKILL) }

func (p *process) signal(signal syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		_ = syscall.Kill(-p.cmd.Process.Pid, signal)
	}
}

func (p *process) Wait() Exit {
	<-p.ended
	return p.exit
}

// classify says in words how a process ended.
func classify(state *os.ProcessState, err error) Exit {
	var exit Exit
	if state == nil {
		exit.Problem = fmt.Sprintf("worker ended: %v", err)
		return exit
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		exit.PeakBytes = usage.Maxrss * 1024
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	switch {
	case !ok:
		exit.Problem = "worker ended: " + state.String()
	case status.Signaled():
		exit.Problem = describeSignal(status.Signal(), exit.PeakBytes)
	case status.ExitStatus() != 0:
		exit.Problem = fmt.Sprintf("worker ended with exit code %d; its last lines are in the log", status.ExitStatus())
	}
	return exit
}

func describeSignal(signal syscall.Signal, peak int64) string {
	gib := float64(peak) / (1 << 30)
	switch signal {
	case syscall.SIGKILL:
		return fmt.Sprintf("worker was killed (SIGKILL) at a peak of %.2f GiB; if nobody did that, the system ran out of memory: "+
			"lower resolution, batch size or rank, or end other programs", gib)
	case syscall.SIGBUS:
		return "worker crashed (SIGBUS): a model or cache file was changed or truncated while in use, or the disk has an error"
	case syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGILL, syscall.SIGFPE:
		return fmt.Sprintf("worker crashed (%s) at a peak of %.2f GiB; its last lines are in the log", signalName(signal), gib)
	default:
		return fmt.Sprintf("worker was ended by signal %d (%v)", int(signal), signal)
	}
}

func signalName(signal syscall.Signal) string {
	return map[syscall.Signal]string{syscall.SIGSEGV: "SIGSEGV", syscall.SIGABRT: "SIGABRT", syscall.SIGILL: "SIGILL", syscall.SIGFPE: "SIGFPE"}[signal]
}
