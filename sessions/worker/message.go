package worker

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stepd/stepd/sessions/checkpoint"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

// Protocol is the version of the messages. Both ends are the same program unless it was replaced while it ran; a worker
// of another version is refused.
const Protocol = 2

// maxFrame bounds a message; the longest carry a job.
const maxFrame = 64 << 20

// Type says what a Message is.
type Type string

// Messages from the supervisor to the worker.
const (
	TypeStart        Type = "start"        // Task; the first message
	TypeAllow        Type = "allow"        // Step: train up to it
	TypeAbort        Type = "abort"        // end for good
	TypeStop         Type = "stop"         // end, to be continued
	TypeMakeSave     Type = "make_save"    // checkpoint after this step
	TypeMakeSample   Type = "make_sample"  // samples after this step
	TypeAcknowledged Type = "acknowledged" // ID, Error: answer to TypePlan and TypeCheckpoint
)

// Messages from the worker to the supervisor.
const (
	TypeHello        Type = "hello"         // Hello; the first message
	TypeLog          Type = "log"           // Line
	TypeWarning      Type = "warning"       // Line
	TypeSettled      Type = "settled"       // Line: a warning that is over
	TypeProgress     Type = "progress"      // Progress
	TypePlan         Type = "plan"          // ID, Plan: may this memory be used?
	TypeReady        Type = "ready"         // Ready
	TypeRunning      Type = "running"       // Step
	TypeStep         Type = "step"          // StepEvent
	TypeCheckpoint   Type = "checkpoint"    // ID, Checkpoint: durable, to be recorded
	TypeRemoved      Type = "removed"       // Step, Path, Line: a checkpoint is gone, and why
	TypeSample       Type = "sample"        // Sample
	TypePreview      Type = "preview"       // Preview
	TypeScript       Type = "script"        // Script
	TypeSampleFailed Type = "sample_failed" // Step, Error
	TypeEvaluation   Type = "evaluation"    // Evaluation
	TypeEvalFailed   Type = "eval_failed"   // Step, Error
	TypePaused       Type = "paused"        // Step: the budget is used up
	TypeFinished     Type = "finished"      // Outcome or Error; the last message
)

// Message is one frame. Type says which fields are used.
type Message struct {
	Type       Type                  `json:"type"`
	ID         int64                 `json:"id,omitempty"`
	Step       int64                 `json:"step,omitempty"`
	Path       string                `json:"path,omitempty"`
	Line       string                `json:"line,omitempty"`
	Hello      *Hello                `json:"hello,omitempty"`
	Start      *Task                 `json:"start,omitempty"`
	Progress   *engine.ProgressEvent `json:"progress,omitempty"`
	Plan       *engine.Plan          `json:"plan,omitempty"`
	Ready      *run.Ready            `json:"ready,omitempty"`
	StepEvent  *engine.StepEvent     `json:"step_event,omitempty"`
	Checkpoint *checkpoint.Info      `json:"checkpoint,omitempty"`
	Sample     *run.Sample           `json:"sample,omitempty"`
	Preview    *run.Preview          `json:"preview,omitempty"`
	Script     *run.Script           `json:"script,omitempty"`
	Evaluation *run.Evaluation       `json:"evaluation,omitempty"`
	Outcome    run.Outcome           `json:"outcome,omitempty"`
	Error      *Failure              `json:"error,omitempty"`
}

// Hello introduces a worker.
type Hello struct {
	Protocol int `json:"protocol"`
	PID      int `json:"pid"`
}

// Task tells a worker what to run.
type Task struct {
	Job      *job.Job `json:"job"`
	CacheDir string   `json:"cache_dir"`
	// Session and Attempt are those of run.Request.
	Session string `json:"session"`
	Attempt int    `json:"attempt"`
	// Roots are the folders that the job may use; empty: any.
	Roots []string `json:"roots,omitempty"`
}

// Failure is an error on its way through a pipe.
type Failure struct {
	// Code of the engine; 0 when the error is not the engine's.
	Code    engine.Code `json:"code,omitempty"`
	Place   string      `json:"place,omitempty"`
	Message string      `json:"message"`
}

func (f *Failure) Error() string { return f.Message }

// failure keeps the whole text of err and the code of the engine's error in it.
func failure(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Message: err.Error()}
	var cause *engine.Error
	if errors.As(err, &cause) {
		f.Code, f.Place = cause.Code, cause.Place
	}
	return f
}

// WriteMessage writes one frame: the length as four bytes, big end first, and JSON.
func WriteMessage(w io.Writer, m Message) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("write %s message: %w", m.Type, err)
	}
	if len(data) > maxFrame {
		return fmt.Errorf("write %s message: it has %d bytes, more than %d", m.Type, len(data), maxFrame)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(data)), uint32(len(data)))
	if _, err := w.Write(append(frame, data...)); err != nil {
		return fmt.Errorf("write %s message: %w", m.Type, err)
	}
	return nil
}

// ReadMessage reads one frame. It returns io.EOF at a clean end.
func ReadMessage(r io.Reader) (Message, error) {
	var header [4]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return Message{}, fmt.Errorf("read message: %w", err)
		}
		return Message{}, err
	}
	length := binary.BigEndian.Uint32(header[:])
	if length > maxFrame {
		return Message{}, fmt.Errorf("read message: a frame of %d bytes is not of this protocol", length)
	}
	data, err := readFrame(r, int(length))
	if err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	var m Message
	if err := json.Unmarshal(data, &m); err != nil {
		return Message{}, fmt.Errorf("read message: %w", err)
	}
	return m, nil
}

// readFrame grows with what arrives, so that a broken length does not allocate.
func readFrame(r io.Reader, length int) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, int64(length)))
	if err == nil && len(data) < length {
		err = io.ErrUnexpectedEOF
	}
	return data, err
}
