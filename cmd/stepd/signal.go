package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// signalRepeat is when a further signal begins to end the program at once: programs such as timeout(1) send the first one
// to a process and to its group, so twice.
const signalRepeat = time.Second

// untilSignal returns a context that ends when the program is asked to end.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, func() { time.AfterFunc(signalRepeat, stop) })
	return ctx, stop
}
