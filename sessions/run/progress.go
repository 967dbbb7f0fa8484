package run

import (
	"fmt"
	"strings"
	"time"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// progress makes the log line of a step in the shape of the tqdm bars that existing clients read:
//
//	name:   5%|▌         | 100/2000 [01:20<25:20,  1.25it/s, lr: 1.0e-04 loss: 3.213e-01]
type progress struct {
	name    string
	end     int64
	every   int64
	trained float64 // seconds in steps of this run
	steps   int64
}

func newProgress(j *job.Job) *progress {
	return &progress{name: j.Name, end: j.End(), every: max(j.LogEvery, 1)}
}

// line returns the line of a step, or "" for steps between lines.
func (p *progress) line(e engine.StepEvent) string {
	p.trained += e.Seconds
	p.steps++
	if e.Step%p.every != 0 && e.Step != p.end {
		return ""
	}
	rate := 0.0
	if p.trained > 0 {
		rate = float64(p.steps) / p.trained
	}
	left := time.Duration(0)
	if rate > 0 {
		left = time.Duration(float64(p.end-e.Step) / rate * float64(time.Second))
	}
	const width = 10
	done := int(width * e.Step / max(p.end, 1))
	bar := strings.Repeat("█", done) + strings.Repeat(" ", width-done)
	return fmt.Sprintf("%s: %3d%%|%s| %d/%d [%s<%s, %s, lr: %.1e loss: %.3e]", p.name, 100*e.Step/max(p.end, 1), bar,
		e.Step, p.end, clock(time.Duration(p.trained*float64(time.Second))), clock(left), speed(rate), e.LR, e.Loss)
}

// speed turns to seconds per step below one step per second.
func speed(rate float64) string {
	if rate > 0 && rate < 1 {
		return fmt.Sprintf("%5.2fs/it", 1/rate)
	}
	return fmt.Sprintf("%5.2fit/s", rate)
}

// clock is mm:ss, or h:mm:ss.
func clock(d time.Duration) string {
	seconds := int64(d.Seconds())
	if seconds >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	}
	return fmt.Sprintf("%02d:%02d", seconds/60, seconds%60)
}

// sink adds log lines to the engine's step events. Only one Train or Encode runs at a time, so the engine's calls do not
// overlap.
type sink struct{ run *run }

func (r *run) sink() engine.Sink { return sink{r} }

// OnStep implements engine.Sink.
func (s sink) OnStep(e engine.StepEvent) {
	s.run.lastStep = e
	s.run.remember(Step{Epoch: s.run.ready.EpochOf(e.Step), MicroBatch: s.run.ready.BatchAt(e.Step), StepEvent: e})
	s.run.reporter.OnStep(e)
	if line := s.run.progress.line(e); line != "" {
		s.run.reporter.Log(line)
	}
}

// OnProgress implements engine.Sink.
func (s sink) OnProgress(e engine.ProgressEvent) { s.run.reporter.OnProgress(s.run.stage.whole(e)) }

// OnPreview implements engine.Sink.
func (s sink) OnPreview(e engine.PreviewEvent) { s.run.onPreview(e) }
