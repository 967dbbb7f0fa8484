package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stepd/stepd/internal/trial"
	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/checkpoint"
)

// plan says what to train and how often to kill.
type plan struct {
	kills int
	seed  uint64
	dir   string // everything is written here
	// Model and pictures of every run, and the size of its pictures in pixels.
	model, pictures string
	resolution      int
	// steps of a run, and the steps between its checkpoints, of which keep are kept.
	steps, every int64
	keep         int
	// longest time between two kills
	longest time.Duration
	command func(address string) *exec.Cmd
	report  func(format string, args ...any)
}

// kinds of runs: one gets its steps by grants, and has to be granted again after each kill; the other has its whole
// budget from the start, and has to go on by itself.
const (
	granted = "granted"
	queued  = "queued"
)

// run is one training under fire.
type run struct {
	kind, id, dir string
	ledger        ledger
	grants        int
	attacked      bool // killed at least once
}

// counts are what the last line reports.
type counts struct {
	serverKills, workerKills, recoveryKills              int
	stops, stopsChecked                                  int // checked: at which the run was at a step
	runs, events, checkpoints, verified, redone, resumed int
}

func (c counts) kills() int { return c.serverKills + c.workerKills }

func (c counts) String() string {
	return fmt.Sprintf("%d kills (%d of the server, of which %d while it started, %d of workers) and %d polite stops (%d of them after a step, which was saved) in %d runs: "+
		"%d events without gap or change, %d checkpoints verified %d times, %d steps redone, every run ended with the same state",
		c.kills(), c.serverKills, c.recoveryKills, c.workerKills, c.stops, c.stopsChecked, c.runs, c.events, c.checkpoints, c.verified, c.redone)
}

// loop kills servers and workers in turn, at random moments.
type loop struct {
	plan
	random    *rand.Rand
	server    *target
	reference map[string]map[string]checkpoint.File // state of the uninterrupted run, by kind
	current   *run
	counts    counts
}

// attack trains one run of each kind undisturbed, and then runs under fire until there were enough kills.
func attack(ctx context.Context, p plan) (counts, error) {
	address, err := trial.FreeAddress()
	if err != nil {
		return counts{}, err
	}
	l := &loop{plan: p, random: rand.New(rand.NewPCG(p.seed, p.seed)), reference: map[string]map[string]checkpoint.File{},
		server: &target{command: p.command, address: address, log: filepath.Join(p.dir, "server.log")}}
	if err := errors.Join(l.server.start(), l.server.ready(ctx)); err != nil {
		return l.counts, err
	}
	defer func() { _ = l.server.kill(context.Background()) }()
	for _, kind := range []string{granted, queued} {
		if err := l.begin(ctx, kind); err != nil {
			return l.counts, err
		}
		if err := l.finish(ctx); err != nil {
			return l.counts, fmt.Errorf("uninterrupted %s run: %w", kind, err)
		}
	}
	for l.counts.kills() < l.plan.kills {
		if err := l.round(ctx); err != nil {
			return l.counts, l.explain(err)
		}
	}
	return l.counts, l.explain(l.finish(ctx))
}

func (l *loop) explain(err error) error {
	if err == nil || l.current == nil {
		return err
	}
	return fmt.Errorf("%s run %s after %d kills (seed %d): %w; its files and logs are in %s",
		l.current.kind, l.current.id, l.counts.kills(), l.seed, err, l.dir)
}

// round is one kill, or the end of a run that was faster.
func (l *loop) round(ctx context.Context) error {
	if l.current == nil {
		if err := l.begin(ctx, []string{granted, queued}[l.counts.runs%2]); err != nil {
			return err
		}
	}
	completed, err := l.follow(ctx, time.Duration(l.random.Int64N(int64(l.longest))))
	switch {
	case err != nil:
		return err
	case completed:
		return l.finish(ctx)
	case l.random.IntN(12) == 0:
		return l.stop(ctx)
	case l.counts.serverKills-l.counts.recoveryKills > l.counts.workerKills:
		return l.killWorker(ctx)
	default:
		return l.killServer(ctx)
	}
}

// begin starts a run; now and then it finds no cache.
func (l *loop) begin(ctx context.Context, kind string) (err error) {
	if l.random.IntN(4) == 0 {
		if err := os.RemoveAll(filepath.Join(l.dir, "data", "cache")); err != nil {
			return err
		}
	}
	name := fmt.Sprintf("run-%d", l.counts.runs)
	r := &run{kind: kind, id: name, dir: filepath.Join(l.dir, "outputs", name)}
	l.counts.runs++
	if kind == queued {
		if r.id, err = l.server.startTraining(ctx, l.form(r.dir)); err != nil {
			return err
		}
		l.current = r
		return nil
	}
	if err := l.server.json(ctx, "POST", "/sessions?wait=false", map[string]any{"sessionId": name, "config": l.document(name)}, nil); err != nil {
		return err
	}
	l.current = r
	return l.grant(ctx)
}

// grant asks for all steps that are left; a session that is interrupted continues.
func (l *loop) grant(ctx context.Context) error {
	r := l.current
	now, err := l.server.status(ctx, r.id)
	if err != nil || now.Allowed >= l.steps {
		return err
	}
	r.grants++
	return l.server.grant(ctx, r.id, fmt.Sprint("grant-", r.grants), l.steps-now.Allowed)
}

// follow reads events as they come for some time, or until the run is completed.
func (l *loop) follow(ctx context.Context, limit time.Duration) (completed bool, err error) {
	end := time.Now().Add(limit)
	err = until(ctx, "the time is over", func() (bool, error) {
		r := l.current
		events, err := l.server.events(ctx, r.id, int64(len(r.ledger.events)))
		if err != nil {
			return false, err
		}
		if err := r.ledger.add(events); err != nil {
			return false, err
		}
		now, err := l.server.status(ctx, r.id)
		completed = now.Status == string(sessions.Completed)
		return completed || time.Now().After(end), err
	})
	return completed, err
}

func (l *loop) killServer(ctx context.Context) error {
	l.current.attacked = true
	l.counts.serverKills++
	if err := l.server.kill(ctx); err != nil {
		return err
	}
	for l.random.IntN(4) == 0 && l.counts.kills() < l.plan.kills {
		// Once more, while it starts and recovers.
		if err := l.server.start(); err != nil {
			return err
		}
		time.Sleep(time.Duration(l.random.Int64N(int64(200 * time.Millisecond))))
		l.counts.serverKills++
		l.counts.recoveryKills++
		if err := l.server.kill(ctx); err != nil {
			return err
		}
	}
	return l.restart(ctx)
}

// stop ends the server politely: no step may be lost.
func (l *loop) stop(ctx context.Context) error {
	l.current.attacked = true
	l.counts.stops++
	seen := len(l.current.ledger.events)
	if err := l.server.terminate(); err != nil {
		return err
	}
	if err := l.restart(ctx); err != nil {
		return err
	}
	checked, err := l.current.ledger.checkStop(seen)
	if checked {
		l.counts.stopsChecked++
	}
	return err
}

// restart checks what the dead server has left, starts it again and checks what it says.
func (l *loop) restart(ctx context.Context) error {
	r := l.current
	verified, newest, err := r.ledger.verify(l.keep)
	l.counts.verified += verified
	if err != nil {
		return err
	}
	if err := errors.Join(l.server.start(), l.server.ready(ctx)); err != nil {
		return err
	}
	return l.resume(ctx, newest)
}

func (l *loop) killWorker(ctx context.Context) error {
	pid := l.server.worker()
	if pid == 0 {
		return nil // between two workers; the next round looks again
	}
	l.current.attacked = true
	l.counts.workerKills++
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return l.resume(ctx, 0)
}

// resume checks the history after a kill and lets the run go on.
func (l *loop) resume(ctx context.Context, newest int64) error {
	r := l.current
	all, err := l.server.events(ctx, r.id, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(r.ledger.compare(all), r.ledger.check()); err != nil {
		return err
	}
	if r.kind == queued {
		return nil
	}
	return until(ctx, "the session is interrupted or has gone on", func() (bool, error) {
		now, err := l.server.status(ctx, r.id)
		switch {
		case err != nil:
			return false, err
		case now.Status == string(sessions.Interrupted) && now.Completed < newest:
			return false, fmt.Errorf("the session is back at step %d, before the acknowledged checkpoint of step %d", now.Completed, newest)
		case now.Status == string(sessions.Interrupted):
			l.counts.resumed++
			return true, l.grant(ctx)
		}
		return now.Status == string(sessions.Completed) || now.Status == string(sessions.Running) && l.server.worker() != 0, nil
	})
}

// finish waits for the end of a run and compares what it has learnt with the uninterrupted one.
func (l *loop) finish(ctx context.Context) error {
	r := l.current
	if r == nil {
		return nil
	}
	completed, err := l.follow(ctx, patience)
	if err == nil && !completed && r.kind == granted {
		// The last worker was killed while its end was not known yet.
		if err = l.grant(ctx); err == nil {
			completed, err = l.follow(ctx, patience)
		}
	}
	if err != nil || !completed {
		return errors.Join(err, errors.New("the run did not complete"))
	}
	all, err := l.server.events(ctx, r.id, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(r.ledger.compare(all), r.ledger.check(), l.compareState(r)); err != nil {
		return err
	}
	verified, _, err := r.ledger.verify(l.keep)
	if err != nil {
		return err
	}
	list, err := r.ledger.checkpoints()
	redone := r.ledger.redone()
	l.counts.verified += verified
	l.counts.checkpoints += len(list)
	l.counts.events += len(all)
	l.counts.redone += redone
	l.report("%s run %s completed after %d kills in all: %d events, %d steps redone", r.kind, r.id, l.counts.kills(), len(all), redone)
	l.current = nil
	return errors.Join(err, l.server.json(ctx, "DELETE", "/sessions/"+r.id, nil, nil))
}

// compareState compares weights, optimizer and everything else of the last step, bit for bit.
func (l *loop) compareState(r *run) error {
	m, err := checkpoint.Verify(filepath.Join(r.dir, fmt.Sprint("checkpoint-", l.steps)))
	if err != nil {
		return err
	}
	state := maps.Clone(m.Files)
	maps.DeleteFunc(state, func(name string, _ checkpoint.File) bool { return !strings.HasPrefix(name, "state/") })
	if l.reference[r.kind] == nil {
		l.reference[r.kind] = state
	}
	if len(state) == 0 || !maps.Equal(state, l.reference[r.kind]) {
		return fmt.Errorf("the state of step %d differs from that of the uninterrupted run: %v instead of %v", l.steps, state, l.reference[r.kind])
	}
	return nil
}
