package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cheggaaa/pb/v3"
	"golang.org/x/term"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/job"
	training "github.com/stepd/stepd/sessions/run"
)

// display shows a run: JSON lines for scripts, a progress bar on a terminal, plain lines otherwise.
type display struct {
	out    io.Writer
	job    *job.Job
	asJSON bool
	bar    *pb.ProgressBar // nil unless out is a terminal
	last   sessions.StepEvent
	code   string // of the last error
	// seconds that the steps of this run took, and their number
	seconds float64
	steps   int64
}

const barTemplate = `{{string . "work"}} {{counters . }} {{bar . "[" "=" ">" " " "]"}} {{string . "loss"}} {{string . "pace"}} {{string . "left"}}`

func newDisplay(out io.Writer, j *job.Job, asJSON bool) *display {
	d := &display{out: out, job: j, asJSON: asJSON}
	if file, ok := out.(*os.File); ok && !asJSON && term.IsTerminal(int(file.Fd())) {
		d.bar = pb.ProgressBarTemplate(barTemplate).Start64(j.End())
	}
	return d
}

func (d *display) close() {
	if d.bar != nil {
		d.bar.Set("work", "steps").SetTotal(d.job.End()).SetCurrent(d.last.Step)
		d.bar.Finish()
	}
}

// event shows one event; done tells that it is the last, and err how the command ends.
func (d *display) event(event sessions.Event) (done bool, err error) {
	switch event.Kind {
	case sessions.KindStep:
		if err := json.Unmarshal(event.Data, &d.last); err != nil {
			return true, err
		}
		d.step(d.last)
	case sessions.KindCheckpoint:
		var c sessions.Checkpoint
		if err := json.Unmarshal(event.Data, &c); err != nil {
			return true, err
		}
		d.print(map[string]any{"type": "checkpoint", "step": c.Step, "path": c.Path}, "checkpoint of step %d: %s", c.Step, c.Path)
	case sessions.KindSample:
		var s sessions.SampleEvent
		if err := json.Unmarshal(event.Data, &s); err != nil {
			return true, err
		}
		d.print(map[string]any{"type": "sample", "step": s.Step, "path": s.Path}, "sample of step %d: %s", s.Step, s.Path)
	case sessions.KindEvaluation, sessions.KindEvaluationFailed:
		err := d.evaluation(event)
		return err != nil, err
	case sessions.KindScript:
		err := d.script(event)
		return err != nil, err
	case sessions.KindStage:
		var s sessions.StageEvent
		if err := json.Unmarshal(event.Data, &s); err != nil {
			return true, err
		}
		d.stage(s)
	case sessions.KindResumed:
		var r sessions.ResumedEvent
		if err := json.Unmarshal(event.Data, &r); err != nil {
			return true, err
		}
		d.print(map[string]any{"type": "resumed", "step": r.Step, "path": r.Checkpoint}, "continuing from step %d: %s", r.Step, r.Checkpoint)
	case sessions.KindState:
		return d.state(event)
	case sessions.KindWarning:
		var m sessions.MessageEvent
		if err := json.Unmarshal(event.Data, &m); err != nil {
			return true, err
		}
		d.print(map[string]any{"type": "warning", "message": m.Message}, "warning: %s", m.Message)
	case sessions.KindError, sessions.KindSampleFailed:
		var m sessions.MessageEvent
		if err := json.Unmarshal(event.Data, &m); err != nil {
			return true, err
		}
		d.code = m.Code
		d.print(map[string]any{"type": "error", "message": m.Message}, "%s", m.Message)
	}
	return false, nil
}

func (d *display) script(event sessions.Event) error {
	var s sessions.ScriptEvent
	if err := json.Unmarshal(event.Data, &s); err != nil {
		return err
	}
	outcome := "done"
	if s.Problem != "" {
		outcome = s.Problem
	}
	d.print(map[string]any{"type": "script", "script": s.Script, "step": s.Step, "exit_code": s.ExitCode, "problem": s.Problem},
		"%s script of step %d: %s", s.Script, s.Step, outcome)
	return nil
}

// evaluation shows the losses, or why there are none.
func (d *display) evaluation(event sessions.Event) error {
	if event.Kind == sessions.KindEvaluationFailed {
		var m sessions.MessageEvent
		err := json.Unmarshal(event.Data, &m)
		d.print(map[string]any{"type": "warning", "message": "evaluation skipped: " + m.Message}, "warning: evaluation skipped: %s", m.Message)
		return err
	}
	var e sessions.EvaluationEvent
	if err := json.Unmarshal(event.Data, &e); err != nil {
		return err
	}
	named := e.Named()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(named)) {
		parts = append(parts, fmt.Sprintf("%s %.4f", name, named[name]))
	}
	d.print(map[string]any{"type": "evaluation", "step": e.Step, "losses": e.Losses, "pooled": e.Pooled, "seconds": e.Seconds},
		"evaluation of step %d: %s", e.Step, strings.Join(parts, ", "))
	return nil
}

func (d *display) state(event sessions.Event) (done bool, err error) {
	var s sessions.StateEvent
	if err := json.Unmarshal(event.Data, &s); err != nil {
		return true, err
	}
	if !s.To.Terminal() && s.To != sessions.Interrupted {
		return false, nil
	}
	if sheet := training.ContactSheet(d.job); exists(sheet) {
		d.print(map[string]any{"type": "contact_sheet", "path": sheet}, "contact sheet of the samples: %s", sheet)
	}
	d.print(map[string]any{"type": "done", "state": s.To, "step": s.Completed}, "%s at step %d", s.To, s.Completed)
	switch s.To {
	case sessions.Completed:
		return true, nil
	case sessions.Aborted:
		return true, &exitError{code: exitStopped}
	}
	switch d.code {
	case "invalid", "not_found", "unsupported":
		return true, &exitError{exitUsage, errors.New(s.Reason)}
	}
	return true, &exitError{exitFailed, errors.New(s.Reason)}
}

// stage shows long work other than steps: the bar is that work's meanwhile.
func (d *display) stage(s sessions.StageEvent) {
	work := strings.ReplaceAll(s.Stage, "_", " ")
	switch {
	case d.asJSON:
		d.print(map[string]any{"type": "stage", "stage": s.Stage, "done": s.Done, "total": s.Total}, "")
	case d.bar != nil && s.Total > 1:
		d.bar.Set("work", work).SetTotal(s.Total).SetCurrent(s.Done)
	case d.bar == nil && s.Total > 1:
		d.print(nil, "%s %d of %d", work, s.Done, s.Total)
	}
}

func (d *display) step(s sessions.StepEvent) {
	d.steps++
	d.seconds += s.Seconds
	pace := d.seconds / float64(d.steps)
	switch {
	case d.asJSON:
		d.print(map[string]any{"type": "step", "step": s.Step, "loss": s.Loss, "lr": s.LR, "grad_norm": s.GradNorm, "seconds": s.Seconds}, "")
	case d.bar != nil:
		left := time.Duration(float64(d.job.End()-s.Step) * pace * float64(time.Second)).Round(time.Second)
		d.bar.Set("work", "steps").SetTotal(d.job.End()).SetCurrent(s.Step).
			Set("loss", fmt.Sprintf("loss %.4f", s.Loss)).Set("pace", fmt.Sprintf("%.3f s/step", pace)).Set("left", "ETA "+left.String())
	case d.job.LogEvery > 0 && s.Step%d.job.LogEvery == 0:
		d.print(nil, "step %d of %d  loss %.4f  lr %.2e  %.3f s/step", s.Step, d.job.End(), s.Loss, s.LR, s.Seconds)
	}
}

// print writes the JSON object or the line, whichever is asked for.
func (d *display) print(object map[string]any, format string, args ...any) {
	if d.asJSON {
		if data, err := json.Marshal(object); err == nil {
			_, _ = fmt.Fprintf(d.out, "%s\n", data)
		}
		return
	}
	if d.bar != nil {
		_, _ = fmt.Fprint(d.out, "\r\x1b[K") // the bar is drawn again below the line
	}
	_, _ = fmt.Fprintf(d.out, format+"\n", args...)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
