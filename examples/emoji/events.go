package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/stepd/stepd/internal/trial"
)

// event is what GET /sessions/emoji/events sends.
type event struct {
	Index int64           `json:"index"`
	Kind  string          `json:"kind"`
	Data  json.RawMessage `json:"data"`
}

type stepData struct {
	Step    int     `json:"step"`
	Loss    float64 `json:"loss"`
	Seconds float64 `json:"seconds"`
}

type sampleData struct {
	Step  int    `json:"step"`
	Index int    `json:"index"`
	Path  string `json:"path"`
}

// events follows the session's event stream into build/demo/events.ndjson and keeps what the demo shows.
type events struct {
	server *trial.Server
	file   *os.File

	mu      sync.Mutex
	changed *sync.Cond
	last    int64 // index of the newest event
	current stepData
	seconds []float64
	samples map[int]map[int]string // step → prompt → file
}

func follow(s *trial.Server, out string) *events {
	e := &events{server: s, samples: map[int]map[int]string{}}
	e.changed = sync.NewCond(&e.mu)
	e.file, _ = os.Create(filepath.Join(out, "events.ndjson"))
	e.reconnect()
	return e
}

// reconnect continues the stream behind the newest event, also after the server was started again.
func (e *events) reconnect() {
	e.mu.Lock()
	url := fmt.Sprintf("http://%s/sessions/emoji/events?since=%d", e.server.Address, e.last)
	e.mu.Unlock()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return
	}
	go func() {
		defer func() { _ = response.Body.Close() }()
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if data, found := strings.CutPrefix(lines.Text(), "data: "); found {
				e.add([]byte(data))
			}
		}
	}()
}

func (e *events) add(data []byte) {
	var ev event
	if json.Unmarshal(data, &ev) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = ev.Index
	_, _ = e.file.Write(append(data, '\n'))
	switch ev.Kind {
	case "step":
		if json.Unmarshal(ev.Data, &e.current) == nil {
			e.seconds = append(e.seconds, e.current.Seconds)
			e.show()
		}
	case "sample":
		var s sampleData
		if json.Unmarshal(ev.Data, &s) == nil {
			if e.samples[s.Step] == nil {
				e.samples[s.Step] = map[int]string{}
			}
			e.samples[s.Step][s.Index] = s.Path
		}
	}
	e.changed.Broadcast()
}

// show prints one line that changes on a terminal, and now and then a line elsewhere.
func (e *events) show() {
	line := fmt.Sprintf("step %3d of %d   loss %.3f   %.3f s/step", e.current.Step, lastStep, e.current.Loss, e.current.Seconds)
	switch {
	case term.IsTerminal(int(os.Stdout.Fd())):
		fmt.Print("\r" + line + " ")
	case e.current.Step%25 == 0:
		fmt.Println(line)
	}
}

func (e *events) step() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current.Step
}

// waitForStep returns when the step is trained.
func (e *events) waitForStep(step int) error {
	return e.wait(fmt.Sprintf("step %d", step), func() bool { return e.current.Step >= step })
}

// waitForSamples returns when all pictures of a step are known; the stream of events lags a little behind the answer to the grant.
func (e *events) waitForSamples(step, count int) error {
	return e.wait(fmt.Sprintf("the pictures of step %d", step), func() bool { return len(e.samples[step]) == count })
}

// wait gives up when nothing has happened for two minutes.
func (e *events) wait(what string, done func() bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for !done() {
		before := e.last
		timer := time.AfterFunc(2*time.Minute, e.changed.Broadcast)
		e.changed.Wait()
		if !timer.Stop() && e.last == before {
			return fmt.Errorf("no event for two minutes while waiting for %s, at step %d", what, e.current.Step)
		}
	}
	return nil
}
