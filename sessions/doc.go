// Package sessions runs trainings: a session is a job, a budget of optimizer steps, a state, numbered events and
// checkpoints. The Manager owns all sessions; each training runs in a worker (a child process, or a goroutine when
// embedded) that the session supervises.
//
// The way of data through the packages below this one:
//
//	job         what to train, free of dialects
//	run         the loop: scan data, plan memory, fill caches, train to the next boundary, checkpoint, sample, pause
//	checkpoint  folders that are complete or absent
//	worker      the loop in another process: framed messages over pipes
//	store       SQLite index of sessions, grants, events and checkpoints; the server is its only writer
//
// Concurrency: every Session has one goroutine that owns its state; commands and worker messages reach it through one
// channel. What other goroutines see is a Snapshot, published after the facts in it are durable. No lock is held while
// waiting for disk or for a worker.
package sessions
