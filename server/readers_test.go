package server

import (
	"bufio"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// BenchmarkReaders is the time from the end of a step of the fake engine, which trains in no time, until every reader of a
// crowd has its event; a fifth of the crowd never reads. See internal/readers for a real training.
func BenchmarkReaders(b *testing.B) {
	for _, readers := range []int{5, 100, 500} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			a := serveWith(b, Options{}, &fake.Engine{})
			document := a.document("crowd")
			process := document["config"].(map[string]any)["process"].([]any)[0].(map[string]any)
			process["train"].(map[string]any)["steps"] = 1 << 30
			gate := fixture.NewGate(b, a.files)
			a.create("crowd", "config", document)
			var steps []chan bool
			for i := range readers {
				if stalls := i%5 == 0; !stalls {
					steps = append(steps, a.follow("/sessions/crowd/events", stalls))
				} else {
					a.follow("/sessions/crowd/events", stalls)
				}
			}
			b.ResetTimer()
			granted := make(chan granted)
			go func() { granted <- a.grant("crowd", map[string]any{"steps": b.N}) }()
			for range b.N {
				gate.Open(1)
				for _, step := range steps {
					<-step
				}
			}
			<-granted
		})
	}
}

// follow opens a stream of events and tells of each step; a reader that stalls never reads.
func (a *api) follow(path string, stalls bool) chan bool {
	a.t.Helper()
	conn, err := net.Dial("tcp", a.address)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", path)
	require.NoError(a.t, err)
	steps := make(chan bool, 1)
	if stalls {
		return nil
	}
	go func() {
		defer close(steps)
		for scanner := bufio.NewScanner(conn); scanner.Scan(); {
			if scanner.Text() == "event: step" {
				steps <- true
			}
		}
	}()
	return steps
}
