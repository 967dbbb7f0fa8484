// Command readers measures what readers of events cost a training. It grants steps to a session of a running server, by
// turns with and without a crowd of readers, some of which never take what they are sent, and compares the times of the
// steps as the training itself reports them.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
)

type options struct {
	url, token, session string
	readers, stalled    int
	steps, rounds       int
	server              int
}

func main() {
	var o options
	flag.StringVar(&o.url, "url", "http://127.0.0.1:8001", "server")
	flag.StringVar(&o.token, "token", "", "its token; empty: it asks for none")
	flag.StringVar(&o.session, "session", "", "id of a paused session")
	flag.IntVar(&o.readers, "readers", 500, "readers of events")
	flag.IntVar(&o.stalled, "stalled", 100, "of these, how many never read")
	flag.IntVar(&o.steps, "steps", 20, "steps of a turn")
	flag.IntVar(&o.rounds, "rounds", 5, "turns without and with readers")
	flag.IntVar(&o.server, "pid", 0, "process of the server, to measure its processor time; 0: not measured")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "readers:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	c := &client{options: o}
	if _, err := c.turn(1, nil); err != nil { // what the first step makes is not measured
		return err
	}
	var alone, watched []float64
	var aloneWork, watchedWork float64
	for round := range o.rounds {
		quiet, err := c.turn(o.steps, nil)
		if err != nil {
			return err
		}
		crowd, err := c.gather()
		if err != nil {
			return err
		}
		busy, err := c.turn(o.steps, crowd)
		crowd.leave()
		if err != nil {
			return err
		}
		alone, watched = append(alone, quiet.seconds...), append(watched, busy.seconds...)
		aloneWork, watchedWork = aloneWork+quiet.work, watchedWork+busy.work
		fmt.Printf("round %d: %.4f s a step alone, %.4f s with %d readers of whom %d stall\n", round+1, quantile(quiet.seconds, 0.5), quantile(busy.seconds, 0.5), o.readers, o.stalled)
	}
	// On a machine with other work, the fast steps tell more than the middle ones: what disturbs all of them is left.
	for _, share := range []struct {
		name string
		of   float64
	}{{"fastest tenth", 0.1}, {"median", 0.5}} {
		a, w := quantile(alone, share.of), quantile(watched, share.of)
		fmt.Printf("%s of %d steps: alone %.4f s, watched %.4f s: %+.2f %%\n", share.name, len(alone), a, w, 100*(w/a-1))
	}
	if o.server != 0 {
		steps := float64(len(alone))
		fmt.Printf("processor time of the server a step: alone %.2f ms, watched %.2f ms\n", 1e3*aloneWork/steps, 1e3*watchedWork/steps)
	}
	return nil
}

func quantile(values []float64, share float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(share*float64(len(sorted)-1))]
}
