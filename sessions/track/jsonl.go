package track

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/stepd/stepd/sessions/run"
)

// metricsFile of a run folder: one JSON object a line, each with "type", "time" and "step".
const metricsFile = "metrics.jsonl"

// jsonl writes metricsFile.
type jsonl struct {
	dir string
	out *output
}

// line is one line; what does not apply is left out.
type line struct {
	Type string    `json:"type"` // "start", "step", "sample", "evaluation" or "checkpoint"
	Time time.Time `json:"time"`
	Step int64     `json:"step"`
	*stepLine
	*sampleLine
	*evaluationLine
	*savedLine
	*startLine
}

type startLine struct {
	Project string          `json:"project"`
	Run     string          `json:"run"`
	Job     json.RawMessage `json:"job"`
}

type stepLine struct {
	Epoch    int64  `json:"epoch"`
	Loss     number `json:"loss"`
	LR       number `json:"lr"`
	GradNorm number `json:"grad_norm"`
	Seconds  number `json:"seconds"`
}

type sampleLine struct {
	Index  int    `json:"index"`
	Image  string `json:"image"` // below the run folder
	Prompt string `json:"prompt"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Seed   uint64 `json:"seed"`
}

type evaluationLine struct {
	Losses  []run.DatasetLoss `json:"losses"`
	Pooled  *float64          `json:"pooled,omitempty"`
	Seconds float64           `json:"evaluation_seconds"`
}

type savedLine struct {
	Checkpoint string `json:"checkpoint"` // below the run folder
	Reason     string `json:"reason"`
}

// number is null where JSON has no number.
type number float64

// MarshalJSON implements json.Marshaler.
func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

func openJSONL(s start) (tracker, error) {
	path := filepath.Join(s.dir, metricsFile)
	keep, err := keptLines(path, s.step)
	if err != nil {
		return nil, err
	}
	out, err := openOutput(path, keep)
	if err != nil {
		return nil, err
	}
	t := &jsonl{dir: s.dir, out: out}
	return t, t.write(line{Type: "start", Time: s.now(), Step: s.step,
		startLine: &startLine{Project: s.project, Run: s.run, Job: s.config}})
}

// keptLines is the length of the whole lines up to a step; nothing at the beginning of a run.
func keptLines(path string, last int64) (int64, error) {
	if last == 0 {
		return 0, nil
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer file.Close()
	var kept int64
	for reader := bufio.NewReader(file); ; {
		text, err := reader.ReadBytes('\n')
		var head struct {
			Step int64 `json:"step"`
		}
		if err == io.EOF || err == nil && (json.Unmarshal(text, &head) != nil || head.Step > last) {
			return kept, nil
		}
		if err != nil {
			return 0, err
		}
		kept += int64(len(text))
	}
}

func (t *jsonl) write(l line) error {
	l.Time = l.Time.UTC()
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = t.out.Write(append(text, '\n'))
	return err
}

func (t *jsonl) step(s step) error {
	return t.write(line{Type: "step", Time: s.time, Step: s.Step, stepLine: &stepLine{Epoch: s.epoch, Loss: number(s.Loss),
		LR: number(s.LR), GradNorm: number(s.GradNorm), Seconds: number(s.Seconds)}})
}

func (t *jsonl) sample(s sample) error {
	p := s.Prompt
	return t.write(line{Type: "sample", Time: s.time, Step: s.Step, sampleLine: &sampleLine{Index: s.Index, Image: t.below(s.Path),
		Prompt: p.Text, Width: p.Width, Height: p.Height, Seed: p.Seed}})
}

func (t *jsonl) evaluation(e evaluation) error {
	return t.write(line{Type: "evaluation", Time: e.time, Step: e.Step, evaluationLine: &evaluationLine{Losses: e.Losses, Pooled: e.Pooled,
		Seconds: e.Seconds}})
}

func (t *jsonl) checkpoint(s saved) error {
	return t.write(line{Type: "checkpoint", Time: s.time, Step: s.step, savedLine: &savedLine{Checkpoint: t.below(s.path), Reason: s.reason}})
}

// below makes a path one that stays right when the run folder moves.
func (t *jsonl) below(path string) string {
	if relative, err := filepath.Rel(t.dir, path); err == nil {
		return filepath.ToSlash(relative)
	}
	return path
}

func (t *jsonl) flush() error     { return t.out.flush() }
func (t *jsonl) sync() error      { return t.out.sync() }
func (t *jsonl) close(bool) error { return t.out.close() }
