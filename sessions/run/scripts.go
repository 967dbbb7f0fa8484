package run

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/script"
)

const (
	// atOnce is the number of scripts that run beside the training.
	atOnce = 2
	// mostWaiting is the number of those that wait for their turn, each of which keeps its checkpoint. When there are more,
	// the one that has waited longest is skipped: the newest checkpoint matters most.
	mostWaiting = 8
)

// scripts starts the job's scripts. Its methods are called by the goroutine of the run.
type scripts struct {
	run    *run
	ctx    context.Context // of every script
	cancel context.CancelFunc
	beside sync.WaitGroup // scripts that the training does not wait for

	mu      sync.Mutex
	running int
	waiting []errand       // oldest first
	inUse   map[string]int // checkpoints that scripts were given, by path
}

// errand is a script to be run beside the training.
type errand struct {
	name       string
	configured *job.Script
	argv       []string
	checkpoint string
	step       int64
}

func newScripts(ctx context.Context, r *run) *scripts {
	s := &scripts{run: r, inUse: map[string]int{}}
	s.ctx, s.cancel = r.control.onEnd(ctx)
	return s
}

// end waits for the scripts of a run that completed, each of which has a deadline, and kills those of any other.
func (s *scripts) end(completed bool) {
	if !completed {
		s.cancel()
	}
	s.beside.Wait()
	s.cancel()
}

// uses tells whether a script was given the checkpoint at path.
func (s *scripts) uses(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inUse[path] > 0
}

// saved starts what follows a new checkpoint.
func (s *scripts) saved(path string) {
	if configured := s.run.job.Scripts; configured != nil {
		s.start("checkpoint", configured.Checkpoint, path)
		s.start("upload", configured.Upload, path)
	}
}

// validate runs the validation script. Without a checkpoint there is nothing that it could validate.
func (s *scripts) validate(validation *job.Script) error {
	if s.run.last == nil {
		s.run.reporter.Warning(fmt.Sprintf("the validation script is not started at step %d: there is no checkpoint yet", s.run.step))
		return nil
	}
	path := s.run.last.Path
	if validation.Background {
		s.start("validation", validation, path)
		return nil
	}
	argv, err := s.arguments(validation, path)
	if err != nil {
		return err
	}
	if result := s.call("validation", validation, argv, s.run.step); result.Problem != "" {
		return fmt.Errorf("validation script %s: %s", argv[0], result.Problem)
	}
	return nil
}

// start runs a script beside the training.
func (s *scripts) start(name string, configured *job.Script, path string) {
	if configured == nil {
		return
	}
	argv, err := s.arguments(configured, path)
	if err != nil {
		s.run.reporter.Warning(fmt.Sprintf("the %s script is not started: %v", name, err))
		return
	}
	s.enqueue(errand{name: name, configured: configured, argv: argv, checkpoint: path, step: s.run.step})
}

// enqueue runs an errand now or when its turn comes.
func (s *scripts) enqueue(e errand) {
	s.beside.Add(1)
	s.mu.Lock()
	s.inUse[e.checkpoint]++
	s.waiting = append(s.waiting, e)
	s.advanceLocked()
	var skipped []errand
	if len(s.waiting) > mostWaiting {
		skipped, s.waiting = s.waiting[:1:1], s.waiting[1:]
	}
	s.mu.Unlock()
	for _, old := range skipped {
		s.run.reporter.Script(Script{Step: old.step, Name: old.name, Argv: old.argv, ExitCode: -1, Problem: fmt.Sprintf(
			"it was skipped: %d scripts run and %d newer ones wait; make the scripts faster, or checkpoints and validations rarer", atOnce, mostWaiting)})
		s.done(old)
	}
}

// advanceLocked gives free places to those who wait.
func (s *scripts) advanceLocked() {
	for s.running < atOnce && len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		s.running++
		go func() {
			if s.ctx.Err() == nil {
				s.call(next.name, next.configured, next.argv, next.step)
			}
			s.mu.Lock()
			s.running--
			s.advanceLocked()
			s.mu.Unlock()
			s.done(next)
		}()
	}
}

// done gives the checkpoint of an errand back.
func (s *scripts) done(e errand) {
	s.mu.Lock()
	if s.inUse[e.checkpoint]--; s.inUse[e.checkpoint] == 0 {
		delete(s.inUse, e.checkpoint)
	}
	s.mu.Unlock()
	s.beside.Done()
}

// arguments fills in the placeholders as they are now.
func (s *scripts) arguments(configured *job.Script, path string) ([]string, error) {
	values := map[string]string{}
	for name, value := range s.run.job.Scripts.Values {
		values[name] = value
	}
	values[script.LocalCheckpointPath] = path
	values[script.GlobalStep] = strconv.FormatInt(s.run.step, 10)
	values[script.RemoteCheckpointPath] = ""
	return script.Expand(configured.Command, values)
}

// call runs a script to its end and reports it.
func (s *scripts) call(name string, configured *job.Script, argv []string, step int64) script.Result {
	reporter := s.run.reporter
	result := script.Run(s.ctx, script.Command{Argv: argv, Dir: s.run.folder.Dir(), Timeout: time.Duration(configured.Timeout) * time.Second,
		Output: func(line string) { reporter.Log("[" + name + " script] " + line) }})
	reporter.Script(Script{Step: step, Name: name, Argv: argv, ExitCode: result.ExitCode, Seconds: result.Seconds, Problem: result.Problem,
		Output: result.Tail})
	return result
}
