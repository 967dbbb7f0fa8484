package track

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// Fields of the records of wandb_internal.proto.
const (
	recordNumber, recordHistory, recordSummary, recordFiles = 1, 2, 3, 6
	recordRun, recordExit, recordHeader                     = 17, 18, 21

	headerVersion, versionProducer = 1, 1

	runID, runProject, runConfig, runName, runStart = 1, 3, 4, 8, 17
	configUpdate, timeSeconds, timeNanos            = 1, 1, 2

	historyItem, historyStep, historyStepNumber = 1, 2, 1
	summaryUpdate                               = 1
	itemNestedKey, itemKey, itemValue           = 2, 1, 16

	filesItem, filePath = 1, 1

	exitCode = 1
)

// wandb writes an offline run below wandb/ of the run folder, which "wandb sync" uploads. Its history has one row a step;
// pictures and losses of a step that come after its row are put into it by writing it again.
type wandb struct {
	dir    string // of the offline run
	out    *output
	begun  time.Time
	number int64 // of the newest record

	// The row of the newest step, where it begins in the file, and the number of the record before it.
	row       map[string]json.RawMessage
	rowStep   int64
	rowAt     int64
	rowNumber int64
}

func openWandb(s start) (tracker, error) {
	w := &wandb{begun: s.now(), row: map[string]json.RawMessage{}}
	dir, records, err := newestWandb(filepath.Join(s.dir, "wandb"), s.step)
	if err != nil {
		return nil, err
	}
	var id string
	switch {
	case dir == "":
		if id, err = s.newID(); err != nil {
			return nil, err
		}
	case !isUploaded(dir):
		return w, w.resume(dir, records)
	default:
		// What is uploaded stays as it is; "wandb sync" adds the folders of one run in the order of their start.
		id = idOf(dir)
	}
	w.dir = filepath.Join(s.dir, "wandb", "offline-run-"+w.begun.Format("20060102_150405")+"-"+id)
	if err := os.MkdirAll(filepath.Join(w.dir, "files"), 0o755); err != nil {
		return nil, err
	}
	if w.out, err = openOutput(filepath.Join(w.dir, "run-"+id+".wandb"), 0); err != nil {
		return nil, err
	}
	return w, w.begin(s, id)
}

// newRunID is eight letters and digits, as wandb makes them.
func newRunID() (string, error) {
	const letters = "0123456789abcdefghijklmnopqrstuv"
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return "", err
	}
	for i := range id {
		id[i] = letters[int(id[i])%len(letters)]
	}
	return string(id), nil
}

// newestWandb returns the offline run that a run goes on with, and its records up to a step. At the beginning that is only
// one that never came to its end.
func newestWandb(root string, last int64) (string, []logRecord, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() && strings.HasPrefix(entry.Name(), "offline-run-") {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		return "", nil, nil
	}
	sort.Strings(names)
	dir := filepath.Join(root, names[len(names)-1])
	records, err := readLog(wandbFile(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", nil, err
	}
	kept, ended := cutRecords(records, last)
	if len(kept) < 2 || last == 0 && ended {
		return "", nil, nil
	}
	return dir, kept, nil
}

func idOf(dir string) string { return dir[strings.LastIndex(dir, "-")+1:] }

func wandbFile(dir string) string { return filepath.Join(dir, "run-"+idOf(dir)+".wandb") }

// isUploaded tells whether "wandb sync" has left its mark.
func isUploaded(dir string) bool {
	_, err := os.Stat(wandbFile(dir) + ".synced")
	return err == nil
}

// cutRecords returns the records up to a step without the end of the run, and whether that was there.
func cutRecords(records []logRecord, last int64) (kept []logRecord, ended bool) {
	kept = records
	for i, record := range records {
		list, err := fields(record.data)
		if err != nil {
			return records[:min(i, len(kept))], ended
		}
		ended = ended || has(list, recordExit)
		beyond := ended
		if history := find(list, recordHistory).bytes; history != nil {
			beyond = beyond || historyStepOf(history) > last
		}
		if beyond && len(kept) == len(records) {
			kept = records[:i]
		}
	}
	return kept, ended
}

func historyStepOf(history []byte) int64 {
	list, _ := fields(history)
	number, _ := fields(find(list, historyStep).bytes)
	return int64(find(number, historyStepNumber).value)
}

// begin writes what every file begins with.
func (w *wandb) begin(s start, id string) error {
	if _, err := w.out.Write(logFileHeader); err != nil {
		return err
	}
	header := message{}.bytes(headerVersion, message{}.text(versionProducer, "stepd"))
	if err := w.put(message{}.bytes(recordHeader, header)); err != nil {
		return err
	}
	config, err := wandbConfig(s.config)
	if err != nil {
		return err
	}
	begun := message{}.integer(timeSeconds, w.begun.Unix()).integer(timeNanos, int64(w.begun.Nanosecond()))
	run := message{}.text(runID, id).text(runProject, s.project).bytes(runConfig, config).
		text(runName, s.run).bytes(runStart, begun)
	if err := w.put(message{}.bytes(recordRun, run)); err != nil {
		return err
	}
	w.rowAt, w.rowNumber = w.out.size, w.number
	return w.flush()
}

// wandbConfig has one item for each field of the job.
func wandbConfig(job json.RawMessage) (message, error) {
	var items map[string]json.RawMessage
	if err := json.Unmarshal(job, &items); err != nil {
		return nil, err
	}
	var config message
	for _, key := range slices.Sorted(maps.Keys(items)) {
		config = config.bytes(configUpdate, message{}.text(itemKey, key).bytes(itemValue, items[key]))
	}
	return config, nil
}

// resume goes on behind the records that are kept, with the row of the last of them.
func (w *wandb) resume(dir string, records []logRecord) error {
	w.dir = dir
	w.number = int64(len(records))
	end := records[len(records)-1].end
	w.rowAt, w.rowNumber = end, w.number
	for i, record := range records {
		list, err := fields(record.data)
		if err != nil {
			return err
		}
		if run := find(list, recordRun).bytes; run != nil {
			w.begun = startOf(run)
		}
		if history := find(list, recordHistory).bytes; history != nil {
			w.rowStep, w.row = historyStepOf(history), rowOf(history)
			w.rowAt, w.rowNumber = record.start, int64(i)
		}
	}
	var err error
	w.out, err = openOutput(wandbFile(dir), end)
	return err
}

func startOf(run []byte) time.Time {
	list, _ := fields(run)
	at, _ := fields(find(list, runStart).bytes)
	return time.Unix(int64(find(at, timeSeconds).value), int64(find(at, timeNanos).value))
}

func rowOf(history []byte) map[string]json.RawMessage {
	row := map[string]json.RawMessage{}
	list, _ := fields(history)
	for _, f := range list {
		if item, err := fields(f.bytes); f.number == historyItem && err == nil {
			row[string(find(item, itemNestedKey).bytes)] = find(item, itemValue).bytes
		}
	}
	return row
}

// put adds a record.
func (w *wandb) put(record message) error {
	w.number++
	_, err := w.out.Write(appendLog(w.out.size, append(message{}.integer(recordNumber, w.number), record...)))
	return err
}

// set puts a value into the row. W&B writes numbers that JSON lacks as text.
func (w *wandb) set(key string, value any) error {
	if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		value = strings.TrimPrefix(strings.Replace(fmt.Sprint(f), "Inf", "Infinity", 1), "+")
	}
	text, err := json.Marshal(value)
	w.row[key] = text
	return err
}

// writeRow writes the row as the newest record.
func (w *wandb) writeRow() error {
	w.rowAt, w.rowNumber = w.out.size, w.number
	var history message
	for _, key := range slices.Sorted(maps.Keys(w.row)) {
		history = history.bytes(historyItem, message{}.text(itemNestedKey, key).bytes(itemValue, w.row[key]))
	}
	history = history.bytes(historyStep, message{}.integer(historyStepNumber, w.rowStep))
	return w.put(message{}.bytes(recordHistory, history))
}

// stamp is what W&B has in every row.
func (w *wandb) stamp(step int64, at time.Time) error {
	return errors.Join(w.set("_step", step), w.set("_timestamp", float64(at.UnixMicro())/1e6), w.set("_runtime", at.Sub(w.begun).Seconds()))
}

func (w *wandb) step(s step) error {
	w.row, w.rowStep = map[string]json.RawMessage{}, s.Step
	err := errors.Join(w.stamp(s.Step, s.time), w.set("train_loss", s.Loss), w.set("learning_rate", s.LR), w.set("grad_norm", s.GradNorm),
		w.set("epoch", s.epoch), w.set("seconds_per_step", s.Seconds))
	return errors.Join(err, w.writeRow())
}

// sample copies the picture into the folder and writes the row again, with it.
func (w *wandb) sample(s sample) error {
	data, err := os.ReadFile(s.Path)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("media/images/validation_%d_%d_%x.png", s.Step, s.Index, sha256.Sum256(data))
	path := filepath.Join(w.dir, "files", filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	if err := w.takeRowBack(); err != nil {
		return err
	}
	err = errors.Join(w.stamp(w.rowStep, s.time), w.set("validation/"+s.name(), map[string]any{"_type": "images/separated", "format": "png",
		"width": s.Prompt.Width, "height": s.Prompt.Height, "count": 1, "filenames": []string{name}, "captions": []string{s.Prompt.Text}}))
	files := message{}.bytes(filesItem, message{}.text(filePath, name))
	return errors.Join(err, w.put(message{}.bytes(recordFiles, files)), w.writeRow())
}

// takeRowBack removes the row from the file, so that it can be written with more in it.
func (w *wandb) takeRowBack() error {
	w.number = w.rowNumber
	return w.out.truncate(w.rowAt)
}

// evaluation puts the losses into the row of their step.
func (w *wandb) evaluation(e evaluation) error {
	if w.rowStep == e.Step {
		if err := w.takeRowBack(); err != nil {
			return err
		}
	} else {
		w.row, w.rowStep = map[string]json.RawMessage{}, e.Step
	}
	err := w.stamp(e.Step, e.time)
	for name, loss := range e.Named() {
		err = errors.Join(err, w.set(name, loss))
	}
	return errors.Join(err, w.writeRow())
}

// checkpoint leaves a summary, in case that the end is never written.
func (w *wandb) checkpoint(saved) error { return w.summarize() }

func (w *wandb) summarize() error {
	var update message
	for _, key := range slices.Sorted(maps.Keys(w.row)) {
		update = update.bytes(summaryUpdate, message{}.text(itemKey, key).bytes(itemValue, w.row[key]))
	}
	return w.put(message{}.bytes(recordSummary, update))
}

func (w *wandb) flush() error { return w.out.flush() }
func (w *wandb) sync() error  { return w.out.sync() }

func (w *wandb) close(failed bool) error {
	if w.out == nil {
		return nil
	}
	code := int64(0)
	if failed {
		code = 1
	}
	return errors.Join(w.summarize(), w.put(message{}.bytes(recordExit, message{}.integer(exitCode, code))), w.out.close())
}
