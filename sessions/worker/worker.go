package worker

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Launcher starts workers.
type Launcher interface {
	// Launch starts one. Lines that it prints go to output, from another goroutine, until it has ended.
	Launch(output func(line string)) (Process, error)
}

// Process is a started worker.
type Process interface {
	// Read and Write carry frames from and to the worker. Close ends the worker's input; it may be called at any time.
	io.ReadWriteCloser
	// PID is 0 for a goroutine.
	PID() int
	// Terminate asks it to end with a checkpoint. Kill ends it, and everything it started, at once.
	Terminate()
	Kill()
	// Wait returns when it has ended.
	Wait() Exit
}

// Exit tells how a worker ended.
type Exit struct {
	// Problem is empty when it ended by itself without an error.
	Problem string
	// PeakBytes is the largest resident size; 0: not known.
	PeakBytes int64
}

// Worker is a started worker as its session sees it.
type Worker struct {
	// Messages arrive here after the handshake; the channel is closed when the worker has ended. The session must read
	// it to the end.
	Messages <-chan Message

	process Process
	mu      sync.Mutex // one writer at a time
	exit    Exit       // valid when Messages is closed
}

// ErrDied: the worker was launched, and ended before it took its job.
var ErrDied = errors.New("start worker")

// Start launches a worker, checks that it speaks this protocol and gives it its job.
func Start(launcher Launcher, start Task, output func(line string)) (*Worker, error) {
	process, err := launcher.Launch(output)
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	messages := make(chan Message, 256)
	w := &Worker{Messages: messages, process: process}
	timeout := time.AfterFunc(handshakeTimeout, process.Kill)
	err = w.handshake(start)
	if timeout.Stop(); err != nil {
		process.Kill()
		_ = process.Close()
		if exit := process.Wait(); exit.Problem != "" {
			return nil, fmt.Errorf("%w: %w (%s)", ErrDied, err, exit.Problem)
		}
		return nil, fmt.Errorf("start worker: %w", err)
	}
	go w.read(messages)
	return w, nil
}

// handshakeTimeout is generous: the first start of a large program on a cold disk takes seconds.
const handshakeTimeout = time.Minute

func (w *Worker) handshake(start Task) error {
	first, err := ReadMessage(w.process)
	if err != nil {
		return err
	}
	if first.Type != TypeHello || first.Hello == nil || first.Hello.Protocol != Protocol {
		return fmt.Errorf("it does not speak version %d of the protocol; the program was replaced, restart the server", Protocol)
	}
	return w.Send(Message{Type: TypeStart, Start: &start})
}

// read ends when the worker's pipe does; a worker that writes what is not a message is killed.
func (w *Worker) read(messages chan<- Message) {
	defer close(messages)
	for {
		m, err := ReadMessage(w.process)
		if err == nil {
			messages <- m
			continue
		}
		if err != io.EOF {
			w.process.Kill()
		}
		w.exit = w.process.Wait()
		if err != io.EOF && w.exit.Problem == "" {
			w.exit.Problem = err.Error()
		}
		_ = w.process.Close()
		return
	}
}

// Send writes one message. A worker that has ended is an error, which Messages tells as well.
func (w *Worker) Send(m Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return WriteMessage(w.process, m)
}

// PID of the process; 0 for a goroutine.
func (w *Worker) PID() int { return w.process.PID() }

// Terminate asks the worker to end at the end of its step, also when it does not read messages.
func (w *Worker) Terminate() { w.process.Terminate() }

// Kill ends the worker at once.
func (w *Worker) Kill() { w.process.Kill() }

// Exit tells how the worker ended; call it after Messages is closed.
func (w *Worker) Exit() Exit { return w.exit }
