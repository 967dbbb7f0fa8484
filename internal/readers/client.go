package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/stepd/stepd/internal/trial"
)

// client asks the server for steps.
type client struct {
	options
	newest int64 // index of the last event that was read
}

// measured is what a turn took.
type measured struct {
	seconds []float64 // of each step, by the training's own clock
	work    float64   // seconds of processor time of the server
}

// turn grants steps, waits until they are trained, and until every reader of the crowd that is not stalled has their events.
func (c *client) turn(steps int, watching *crowd) (m measured, err error) {
	before, err := c.work()
	if err != nil {
		return m, err
	}
	if err := c.call("POST", "/steps", map[string]int{"steps": steps}, nil); err != nil {
		return m, err
	}
	for {
		var page struct {
			Events []struct {
				Index int64  `json:"index"`
				Kind  string `json:"kind"`
				Data  struct {
					Seconds float64 `json:"seconds"`
				} `json:"data"`
			} `json:"events"`
		}
		if err := c.call("GET", fmt.Sprintf("/events?since=%d", c.newest), nil, &page); err != nil {
			return m, err
		}
		for _, event := range page.Events {
			c.newest = event.Index
			if event.Kind == "step" {
				m.seconds = append(m.seconds, event.Data.Seconds)
			}
		}
		if len(page.Events) == 0 {
			break
		}
	}
	if len(m.seconds) != steps {
		return m, fmt.Errorf("%d steps were granted and %d trained; is the session complete?", steps, len(m.seconds))
	}
	if err := watching.wait(c.newest); err != nil {
		return m, err
	}
	after, err := c.work()
	m.work = after - before
	return m, err
}

// path is the URL of something about the session.
func (c *client) path(path string) string {
	return c.url + "/sessions/" + url.PathEscape(c.session) + path
}

func (c *client) header() http.Header {
	if c.token == "" {
		return http.Header{}
	}
	return http.Header{"Authorization": {"Bearer " + c.token}}
}

func (c *client) call(method, path string, body, answer any) error {
	return trial.JSON(context.Background(), method, c.path(path), c.header(), body, answer)
}

// ticksPerSecond is the unit of processor time in /proc.
const ticksPerSecond = 100

// work is the processor time that the server has used, in seconds.
func (c *client) work() (float64, error) {
	if c.server == 0 {
		return 0, nil
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.server))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is not as expected: %s", c.server, data)
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond, err
}

// crowd is many open streams of events.
type crowd struct {
	connections []net.Conn
	readers     []chan int64 // index of each event that a reader got
}

// readerWait is the longest that a reader may lag behind the training.
const readerWait = time.Minute

// gather opens the streams.
func (c *client) gather() (*crowd, error) {
	all := &crowd{}
	for i := range c.options.readers {
		request, err := http.NewRequest("GET", c.path(fmt.Sprintf("/events?since=%d", c.newest)), nil)
		if err != nil {
			return nil, err
		}
		request.Header = c.header()
		request.Header.Set("Accept", "text/event-stream")
		conn, err := net.Dial("tcp", request.URL.Host)
		if err != nil {
			return nil, err
		}
		all.connections = append(all.connections, conn)
		if err := request.Write(conn); err != nil {
			return nil, err
		}
		if i >= c.stalled {
			indices := make(chan int64, 1<<16)
			all.readers = append(all.readers, indices)
			go read(conn, indices)
		}
	}
	return all, nil
}

// read passes the ids of a stream on until it ends.
func read(conn net.Conn, indices chan<- int64) {
	defer close(indices)
	scanner := bufio.NewScanner(conn)
	for scanner.Scan() {
		id, ok := strings.CutPrefix(scanner.Text(), "id: ")
		if !ok {
			continue
		}
		if index, err := strconv.ParseInt(id, 10, 64); err == nil {
			indices <- index
		}
	}
}

// wait waits until every reader has an event.
func (all *crowd) wait(index int64) error {
	if all == nil {
		return nil
	}
	late := time.After(readerWait)
	for i, indices := range all.readers {
		for got := int64(0); got < index; {
			var open bool
			select {
			case got, open = <-indices:
				if !open {
					return fmt.Errorf("the stream of reader %d ended before event %d", i, index)
				}
			case <-late:
				return fmt.Errorf("reader %d is at event %d and waits for %d", i, got, index)
			}
		}
	}
	return nil
}

func (all *crowd) leave() {
	for _, conn := range all.connections {
		_ = conn.Close()
	}
}
