package track

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Fields of the messages Event, Summary, Summary.Value and what they hold, from tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto.
const (
	eventWallTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7

	summaryValue                                                = 1
	valueTag, valueNumber, valueImage, valueTensor, valuePlugin = 1, 2, 4, 8, 9

	imageHeight, imageWidth, imageColours, imageBytes = 1, 2, 3, 4

	sessionStatus, sessionStart = 1, 1
)

const eventFilePrefix = "events.out.tfevents."

// tensorBoard writes event files below logs/ of the run folder. A resume starts a new file whose first record tells
// readers that are open to forget what came after the checkpoint; older files are cut to it.
type tensorBoard struct{ out *output }

func openTensorBoard(s start) (tracker, error) {
	dir := filepath.Join(s.dir, "logs", folderName(s.project))
	if err := cutEvents(dir, s.step); err != nil {
		return nil, err
	}
	path, err := newEventFile(dir, s.now())
	if err != nil {
		return nil, err
	}
	out, err := openOutput(path, 0)
	if err != nil {
		return nil, err
	}
	t := &tensorBoard{out: out}
	return t, errors.Join(t.begin(s), t.flush())
}

// folderName keeps a name of a user to one folder.
func folderName(name string) string {
	clean := []rune(name)
	for i, r := range clean {
		if r == '/' || r == '\\' || r < ' ' {
			clean[i] = '_'
		}
	}
	if name = string(clean); name == "" || name == "." || name == ".." {
		return "run"
	}
	return name
}

// cutEvents drops what older files hold beyond a step; all of it at the beginning of a run.
func cutEvents(dir string, last int64) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if !strings.HasPrefix(entry.Name(), eventFilePrefix) {
			continue
		}
		if last == 0 {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		keep, err := scanFrames(path, func(data []byte) bool {
			event, err := fields(data)
			return err == nil && int64(find(event, eventStep).value) <= last
		})
		if err != nil {
			return err
		}
		if err := os.Truncate(path, keep); err != nil {
			return err
		}
	}
	return nil
}

// newEventFile names a file that sorts behind all others, as readers expect.
func newEventFile(dir string, now time.Time) (string, error) {
	for i := range 1000 {
		path := filepath.Join(dir, fmt.Sprintf("%s%010d.stepd.%03d", eventFilePrefix, now.Unix(), i))
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s holds 1000 event files of this second", dir)
}

func (t *tensorBoard) begin(s start) error {
	now := s.now()
	if err := t.write(now, 0, message{}.text(eventVersion, "brain.Event:2")); err != nil {
		return err
	}
	if s.step > 0 {
		session := message{}.integer(sessionStatus, sessionStart)
		if err := t.write(now, s.step+1, message{}.bytes(eventSession, session)); err != nil {
			return err
		}
	}
	var config bytes.Buffer
	if err := json.Indent(&config, s.config, "", "  "); err != nil {
		return err
	}
	return t.write(now, s.step, summary(textValue("config", "```json\n"+config.String()+"\n```")))
}

// write makes an Event of one of its oneof fields.
func (t *tensorBoard) write(at time.Time, step int64, what message) error {
	event := message{}.double(eventWallTime, float64(at.UnixMicro())/1e6).integer(eventStep, step)
	_, err := t.out.Write(frame(append(event, what...)))
	return err
}

func summary(values ...message) message {
	var list message
	for _, value := range values {
		list = list.bytes(summaryValue, value)
	}
	return message{}.bytes(eventSummary, list)
}

func scalar(tag string, value float64) message {
	return message{}.text(valueTag, tag).float(valueNumber, float32(value))
}

// textValue is a string tensor of one element that the plugin "text" shows as Markdown.
func textValue(tag, text string) message {
	const (
		dataType, tensorShape, stringValue, stringType = 1, 2, 8, 7
		shapeDim, dimSize                              = 2, 1
		pluginData, pluginName                         = 1, 1
	)
	shape := message{}.bytes(shapeDim, message{}.integer(dimSize, 1))
	tensor := message{}.integer(dataType, stringType).bytes(tensorShape, shape).text(stringValue, text)
	plugin := message{}.bytes(pluginData, message{}.text(pluginName, "text"))
	return message{}.text(valueTag, tag+"/text_summary").bytes(valueTensor, tensor).bytes(valuePlugin, plugin)
}

func (t *tensorBoard) step(s step) error {
	return t.write(s.time, s.Step, summary(scalar("train_loss", s.Loss), scalar("learning_rate", s.LR), scalar("grad_norm", s.GradNorm),
		scalar("epoch", float64(s.epoch)), scalar("seconds_per_step", s.Seconds)))
}

func (t *tensorBoard) sample(s sample) error {
	data, err := os.ReadFile(s.Path)
	if err != nil {
		return err
	}
	const colours = 3
	image := message{}.integer(imageHeight, int64(s.Prompt.Height)).integer(imageWidth, int64(s.Prompt.Width)).
		integer(imageColours, colours).bytes(imageBytes, data)
	tag := "validation/" + s.name()
	return t.write(s.time, s.Step, summary(message{}.text(valueTag, tag).bytes(valueImage, image), textValue(tag+"/prompt", s.Prompt.Text)))
}

func (t *tensorBoard) evaluation(e evaluation) error {
	named := e.Named()
	var values []message
	for _, tag := range slices.Sorted(maps.Keys(named)) {
		values = append(values, scalar(tag, named[tag]))
	}
	return t.write(e.time, e.Step, summary(values...))
}

func (t *tensorBoard) checkpoint(saved) error { return nil }
func (t *tensorBoard) flush() error           { return t.out.flush() }
func (t *tensorBoard) sync() error            { return t.out.sync() }
func (t *tensorBoard) close(bool) error       { return t.out.close() }
