package sessions

import "context"

// Feed reads events in order at the reader's own pace: a slow reader delays nobody and misses nothing.
type Feed struct{}

// Next waits for at least one event and returns those that are there, at most a few hundred. It returns io.EOF when the
// session is deleted or the manager closed and everything has been read, and the error of ctx when that ends.
func (f *Feed) Next(ctx context.Context) ([]Event, error) { return nil, nil }

// LogReader reads log lines at the reader's own pace. A reader that falls more than 2000 lines behind misses the oldest.
type LogReader struct{}

// Next waits for at least one line. It returns io.EOF when the session is finished or deleted and everything has been
// read, and the error of ctx when that ends.
func (r *LogReader) Next(ctx context.Context) ([]string, error) { return nil, nil }
