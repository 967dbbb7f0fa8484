package worker

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
)

// Local is a Launcher of goroutines, for programs that embed stepd. A crash of the engine ends the program, and an engine
// that is stuck cannot be ended: Kill abandons it.
type Local struct {
	Engine engine.Engine
	// FS is for tests of failing disks; nil: the operating system's.
	FS checkpoint.FS
}

var _ Launcher = Local{}

// Launch implements Launcher.
func (l Local) Launch(output func(line string)) (Process, error) {
	workerIn, in := io.Pipe()
	out, workerOut := io.Pipe()
	p := &local{in: in, out: out, terminate: make(chan os.Signal, 1), ended: make(chan struct{})}
	fsys := l.FS
	if fsys == nil {
		fsys = checkpoint.OS{}
	}
	go func() {
		problem := ""
		if err := serve(context.Background(), workerIn, workerOut, l.Engine, fsys, p.terminate); err != nil {
			problem = err.Error()
		}
		// End of file for the supervisor only after everything is written.
		_ = workerOut.Close()
		_ = workerIn.Close()
		p.end(Exit{Problem: problem})
	}()
	return p, nil
}

type local struct {
	in        *io.PipeWriter
	out       *io.PipeReader
	terminate chan os.Signal // capacity 1
	once      sync.Once
	exit      Exit          // valid when ended is closed
	ended     chan struct{} // closed by end
}

func (p *local) end(exit Exit) {
	p.once.Do(func() {
		p.exit = exit
		close(p.ended)
	})
}

func (p *local) Read(data []byte) (int, error) {
	n, err := p.out.Read(data)
	if err == io.ErrClosedPipe {
		err = io.EOF
	}
	return n, err
}

func (p *local) Write(data []byte) (int, error) { return p.in.Write(data) }

func (p *local) Close() error {
	_ = p.out.Close()
	return p.in.Close()
}

func (p *local) PID() int { return 0 }

func (p *local) Terminate() {
	select {
	case p.terminate <- syscall.SIGTERM:
	default:
	}
}

// Kill leaves the goroutine behind; it ends by itself at the end of its step, for its pipes are closed.
func (p *local) Kill() {
	p.end(Exit{Problem: "worker did not end and was abandoned"})
	_ = p.Close()
}

func (p *local) Wait() Exit {
	<-p.ended
	return p.exit
}
