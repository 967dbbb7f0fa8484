package server

import (
	"net/http"
	"time"
)

const (
	// bodyLimit bounds request bodies; real jobs are a few kilobytes.
	bodyLimit = 1 << 20
	// headerLimit bounds the first line and the headers of a request; browsers send long cookies to localhost.
	headerLimit = 16 << 10
	// maxConnections bounds the open connections, streams among them.
	maxConnections = 4096
	// hashedAtOnce bounds the checkpoints that are read whole at one time, which takes the disk from the training.
	hashedAtOnce = 2
)

// Limits bound what clients can make the server hold. Zero values are the defaults.
type Limits struct {
	// Streams are the readers of logs and events at one time; default 1024.
	Streams int64
	// Sessions that have, or soon have, a worker; default 256.
	Sessions int
	// Stall is how long a reader may take nothing of what is sent before it is dropped; default one minute.
	Stall time.Duration
}

func (l Limits) complete() Limits {
	if l.Streams == 0 {
		l.Streams = 1024
	}
	if l.Sessions == 0 {
		l.Sessions = 256
	}
	if l.Stall == 0 {
		l.Stall = time.Minute
	}
	return l
}

// enterStream counts a stream until the function that it returns is called.
func (s *Server) enterStream() (leave func(), err error) {
	if limit := s.options.Limits.Streams; s.streams.Add(1) > limit {
		s.streams.Add(-1)
		return nil, failure(http.StatusServiceUnavailable, "all %d streams are in use; close some, or read pages of events instead", limit)
	}
	return func() { s.streams.Add(-1) }, nil
}

// enterHashing counts a checkpoint that is read until the function that it returns is called.
func (s *Server) enterHashing() (leave func(), err error) {
	if s.hashing.Add(1) > hashedAtOnce {
		s.hashing.Add(-1)
		return nil, failure(http.StatusServiceUnavailable, "%d checkpoints are being read already; try again when they are done", hashedAtOnce)
	}
	return func() { s.hashing.Add(-1) }, nil
}

// checkRoom refuses another session when too many are at work.
func (s *Server) checkRoom() error {
	active := 0
	for _, session := range s.options.Manager.Sessions() {
		if session.Snapshot().State.Active() {
			active++
		}
	}
	if active >= s.options.Limits.Sessions {
		return failure(http.StatusTooManyRequests, "%d sessions have workers, which is the limit; abort or delete some first", active)
	}
	return nil
}
