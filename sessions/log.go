package sessions

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

const (
	// keptLines of a log are there for readers.
	keptLines = 2000
	// maxLogFile is the size at which the file is cut to the kept lines.
	maxLogFile = 8 << 20
	maxLogLine = 16 << 10
)

// logBuffer keeps the newest lines of a session, in memory for readers and in a file for the next start. Losing lines in
// a power cut is acceptable, so the file is not synced; a disk that fails silences the file, not the session.
type logBuffer struct {
	path string

	mu      sync.Mutex
	lines   []string
	first   int64 // number of lines[0], counted from the beginning
	ended   bool
	changed chan struct{} // closed, and replaced, by every change
	file    *os.File      // nil when it cannot be written
	size    int64
}

func openLog(path string) (*logBuffer, error) {
	l := &logBuffer{path: path, changed: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	old, err := os.Open(path)
	if err == nil {
		scanner := bufio.NewScanner(old)
		scanner.Buffer(nil, 2*maxLogLine)
		for scanner.Scan() {
			l.keep(scanner.Text())
		}
		err = errors.Join(scanner.Err(), old.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if l.size, err = l.file.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), l.file.Close())
	}
	return l, nil
}

func (l *logBuffer) keep(line string) {
	l.lines = append(l.lines, line)
	// Half as much again before copying, so that appending stays cheap.
	if len(l.lines) > keptLines*3/2 {
		cut := len(l.lines) - keptLines
		l.lines = append([]string(nil), l.lines[cut:]...)
		l.first += int64(cut)
	}
}

// add takes text, split at line ends; blank lines are dropped.
func (l *logBuffer) add(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = strings.TrimRight(strings.ToValidUTF8(line, "\uFFFD"), " \t")
		if line == "" {
			continue
		}
		if len(line) > maxLogLine {
			line = strings.ToValidUTF8(line[:maxLogLine], "")
		}
		l.keep(line)
		l.writeLocked(line + "\n")
	}
	l.notifyLocked()
}

func (l *logBuffer) writeLocked(text string) {
	if l.file == nil {
		return
	}
	n, err := l.file.WriteString(text)
	l.size += int64(n)
	if err == nil && l.size > maxLogFile {
		kept := strings.Join(l.lines[max(len(l.lines)-keptLines, 0):], "\n") + "\n"
		err = errors.Join(l.file.Truncate(0), func() error { _, err := l.file.WriteString(kept); return err }())
		l.size = int64(len(kept))
	}
	if err != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

func (l *logBuffer) notifyLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// end lets readers stop when they have read everything.
func (l *logBuffer) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		l.notifyLocked()
	}
}

// close ends the log and its file; remove deletes the file.
func (l *logBuffer) close(remove bool) {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	if remove {
		_ = os.Remove(l.path)
	}
}

// tail returns the newest limit lines; 0: all that are kept.
func (l *logBuffer) tail(limit int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit <= 0 || limit > keptLines {
		limit = keptLines
	}
	return append([]string{}, l.lines[max(len(l.lines)-limit, 0):]...)
}

// LogReader reads log lines at the reader's own pace. A reader that falls more than 2000 lines behind misses the oldest.
type LogReader struct {
	log  *logBuffer
	next int64
}

// Next waits for at least one line. It returns io.EOF when the session is finished or deleted and everything has been
// read, and the error of ctx when that ends.
func (r *LogReader) Next(ctx context.Context) ([]string, error) {
	for {
		lines, changed, ended := r.read()
		if len(lines) > 0 {
			return lines, nil
		}
		if ended {
			return nil, io.EOF
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *LogReader) read() (lines []string, changed <-chan struct{}, ended bool) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	newest := l.first + int64(len(l.lines))
	r.next = max(r.next, l.first, newest-keptLines)
	lines = append(lines, l.lines[r.next-l.first:]...)
	r.next = newest
	return lines, l.changed, l.ended
}
