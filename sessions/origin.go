package sessions

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/stepd/stepd/sessions/checkpoint"
)

// originFile of a run folder says which session writes there, so that an index that is lost can be made again with what
// checkpoints do not tell. Only its owner may read it, because labels may hold secrets of webhooks.
const originFile = ".session.json"

// origin is what originFile holds.
type origin struct {
	Key     string            `json:"key"`
	ID      string            `json:"id"`
	Created time.Time         `json:"created"`
	Labels  map[string]string `json:"labels,omitempty"`
	Queue   string            `json:"queue,omitempty"`
	// Attempt counts the workers so far.
	Attempt int `json:"attempt"`
	// End is how the session ended, or that it has been told to (Aborting); empty before that.
	End       State  `json:"end,omitempty"`
	Cancelled bool   `json:"cancelled,omitempty"`
	Error     string `json:"error,omitempty"`
	ErrorCode string `json:"error_code,omitempty"`
}

// origin describes the session as it is now.
func (a *actor) origin() origin {
	s, now := a.session, a.state
	o := origin{Key: s.key, ID: s.id, Created: now.Created, Labels: s.labels, Queue: s.queue, Attempt: now.Attempt, Cancelled: now.Cancelled,
		Error: now.Error, ErrorCode: now.ErrorCode}
	if now.State == Aborting || now.State.Terminal() {
		o.End = now.State
	}
	return o
}

// keepOrigin writes the file. Without it a training goes on all the same, and the index has everything.
func (s *Session) keepOrigin(o origin) {
	if err := writeOrigin(s.job.RunDir(), o); err != nil {
		s.manager.options.Logger.Warn("the run folder does not tell its session; if the index is lost, so are labels, queue and end of the session",
			zap.String("session", s.id), zap.Error(err))
	}
}

// keepEnd writes down that the session ends before the index says so: an index that is made again must not continue what
// somebody has ended. A session that never had a worker has left nothing to continue.
func (a *actor) keepEnd() {
	end := a.origin()
	if end.End == "" || end.End == a.keptEnd || end.Attempt == 0 || a.deleting {
		return
	}
	a.keptEnd = end.End
	a.session.keepOrigin(end)
}

// forgetOrigin lets a deleted session's run folder belong to nobody, unless it is another session's by now.
func forgetOrigin(runDir, key string) {
	if kept, err := readOrigin(runDir); err == nil && kept.Key == key {
		_ = os.Remove(filepath.Join(runDir, originFile)) // best effort: only a lost index would ask for it
	}
}

func writeOrigin(dir string, o origin) error {
	data, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return fmt.Errorf("write session as JSON: %w", err)
	}
	path := filepath.Join(dir, originFile)
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return checkpoint.OS{}.Sync(dir)
}

// readOrigin returns nil for a run folder that names no session, such as one of an older version.
func readOrigin(dir string) (*origin, error) {
	path := filepath.Join(dir, originFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var o origin
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err == nil && (!validID(o.ID) || !validKey(o.Key)) {
		err = errors.New("it names no session")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &o, nil
}

// validKey keeps a key that was read from a file from becoming another path than that of a log.
func validKey(key string) bool { return len(key) == 32 && isHex(key) }

func isHex(text string) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
