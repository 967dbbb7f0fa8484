package sessions

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

const (
	// keptLines of a log are there for readers.
	keptLines = 2000
	// maxLogFile is the size at which the file is cut.
	maxLogFile = 8 << 20
	maxLogLine = 16 << 10
)

// logBuffer keeps the newest lines of a session, in memory for readers and in a file for the next start. Lines are
// numbered 1, 2, 3, … for ever; the file has the number before each line, so that it can be cut. Losing lines in a power
// cut is acceptable, so the file is not synced; a disk that fails silences the file, not the session.
type logBuffer struct {
	path string

	mu      sync.Mutex
	lines   []string
	first   int64 // number of lines[0]
	ended   bool
	changed chan struct{} // closed, and replaced, by every change
	file    *os.File      // nil when it cannot be written
	size    int64
}

// openLog continues the log in a file. The log can be used whatever the error, which says why it has no file or lacks
// old lines.
func openLog(path string) (*logBuffer, error) {
	l := &logBuffer{path: path, first: 1, changed: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return l, fmt.Errorf("open log: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return l, fmt.Errorf("open log: %w", err)
	}
	l.file = file
	if err := l.read(); err != nil {
		return l, fmt.Errorf("read log: %w", err)
	}
	return l, nil
}

// read takes over what an earlier server wrote. A line that was torn ends where it was torn, and of a line that is too
// long the beginning is kept.
func (l *logBuffer) read() error {
	stat, err := l.file.Stat()
	if err != nil {
		return err
	}
	l.size = stat.Size()
	last := []byte{'\n'}
	if _, err := l.file.ReadAt(last, max(l.size-1, 0)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	reader := bufio.NewReaderSize(l.file, 2*maxLogLine)
	for tooLong := false; ; {
		line, more, err := reader.ReadLine()
		if err != nil {
			if last[0] != '\n' {
				l.writeLocked("\n")
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if !tooLong && len(line) > 0 {
			l.keepNumbered(string(line))
		}
		tooLong = more
	}
}

// keepNumbered keeps a line of the file; one without a number follows the line before.
func (l *logBuffer) keepNumbered(line string) {
	if number, text, ok := strings.Cut(line, "\t"); ok {
		if n, err := strconv.ParseInt(number, 10, 64); err == nil && n > 0 {
			if n != l.next() {
				l.lines, l.first = nil, n
			}
			line = text
		}
	}
	l.keep(bounded(line))
}

// next is the number of the next line.
func (l *logBuffer) next() int64 { return l.first + int64(len(l.lines)) }

// bounded makes a line valid UTF-8 of at most maxLogLine bytes.
func bounded(line string) string {
	line = strings.ToValidUTF8(line, "\uFFFD")
	if len(line) > maxLogLine {
		line = strings.ToValidUTF8(line[:maxLogLine], "")
	}
	return line
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
		line = strings.TrimRight(bounded(line), " \t")
		if line == "" {
			continue
		}
		number := l.next()
		l.keep(line)
		l.writeLocked(numbered(number, line))
	}
	if l.size > maxLogFile {
		l.cutLocked()
	}
	l.notifyLocked()
}

// numbered is a line as the file has it.
func numbered(number int64, line string) string {
	return strconv.FormatInt(number, 10) + "\t" + line + "\n"
}

func (l *logBuffer) writeLocked(text string) {
	if l.file == nil {
		return
	}
	n, err := l.file.WriteString(text)
	l.size += int64(n)
	if err != nil {
		l.silenceLocked()
	}
}

// silenceLocked gives the file up.
func (l *logBuffer) silenceLocked() {
	_ = l.file.Close()
	l.file = nil
}

// cutLocked replaces the file by one with the kept lines, as many as fill half of it, at once, so that numbers go on
// whenever the server is killed.
func (l *logBuffer) cutLocked() {
	if l.file == nil {
		return
	}
	from := len(l.lines)
	for size := 0; from > max(len(l.lines)-keptLines, 0) && size < maxLogFile/2; from-- {
		size += len(l.lines[from-1])
	}
	var kept strings.Builder
	for i, line := range l.lines[from:] {
		kept.WriteString(numbered(l.first+int64(from+i), line))
	}
	l.silenceLocked()
	if err := os.WriteFile(l.path+".new", []byte(kept.String()), 0o644); err != nil {
		return
	}
	if err := os.Rename(l.path+".new", l.path); err != nil {
		return
	}
	if file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0o644); err == nil {
		l.file, l.size = file, int64(kept.Len())
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
		l.silenceLocked()
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

// Number of the last line that Next returned, counted from 1 over the whole life of the session.
func (r *LogReader) Number() int64 { return r.next - 1 }

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

// read also brings back a reader that is ahead, because lines were lost in a power cut.
func (r *LogReader) read() (lines []string, changed <-chan struct{}, ended bool) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.next()
	r.next = min(max(r.next, l.first, next-keptLines), next)
	lines = append(lines, l.lines[r.next-l.first:]...)
	r.next = next
	return lines, l.changed, l.ended
}
