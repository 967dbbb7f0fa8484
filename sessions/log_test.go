package sessions

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func reopenLog(t *testing.T, path string) *logBuffer {
	t.Helper()
	l, err := openLog(path)
	require.NoError(t, err)
	t.Cleanup(func() { l.close(false) })
	return l
}

// assertLines prints only how long lines are that differ.
func assertLines(t *testing.T, want, got []string) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.True(t, want[i] == got[i], "line %d of %d bytes instead of %d", i, len(got[i]), len(want[i]))
	}
}

func TestALogReadsWhateverIsInItsFile(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	tests := []struct {
		name, file string
		lines      []string
		next       int64
	}{
		{"no file", "", nil, 1},
		{"whole lines", "1\tone\n2\ttwo\n", []string{"one", "two"}, 3},
		{"a line that is too long", "1\tone\n2\t" + long + "\n3\tthree\n", []string{"one", long[:maxLogLine], "three"}, 4},
		{"a torn line", "7\tone\n8\ttw", []string{"one", "tw"}, 9},
		{"two lines grown together", "1\ton2\ttwo\n", []string{"on2\ttwo"}, 2},
		{"a gap, of which the newer side is kept", "1\tone\n5\tfive\n", []string{"five"}, 6},
		{"no numbers", "one\ntwo\n", []string{"one", "two"}, 3},
		{"zeros of a power cut", "1\tone\n" + strings.Repeat("\x00", 70_000), []string{"one", strings.Repeat("\x00", maxLogLine)}, 3},
		{"bytes that are no text", "1\t\xff\xfe\n", []string{"\uFFFD"}, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "logs", "x.log")
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(test.file), 0o644))
			l := reopenLog(t, path)
			assertLines(t, test.lines, l.tail(0))
			assert.Equal(t, test.next, l.next())
			l.add("more\n" + long)
			l.close(false)
			again := reopenLog(t, path)
			assertLines(t, append(test.lines, "more", long[:maxLogLine]), again.tail(0))
			assert.Equal(t, test.next+2, again.next(), "the file was left so that lines can follow")
		})
	}
}

func TestNumbersOfLinesGoOnAfterACut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l := reopenLog(t, path)
	long := strings.Repeat("y", maxLogLine-16)
	const count = 1500 // of which 512 fill the file
	for i := range count {
		l.add(strconv.Itoa(i+1) + " " + long)
	}
	l.close(false)
	stat, err := os.Stat(path)
	require.NoError(t, err)
	assert.LessOrEqual(t, stat.Size(), int64(maxLogFile), "the file was cut")
	again := reopenLog(t, path)
	assert.Equal(t, int64(count+1), again.next())
	lines := again.tail(2)
	assert.True(t, strings.HasPrefix(lines[1], "1500 "))
}

func TestALogWithoutAFileStillHasReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	require.NoError(t, os.Mkdir(path, 0o755))
	l, err := openLog(path)
	require.ErrorContains(t, err, path)
	l.add("one")
	assert.Equal(t, []string{"one"}, l.tail(0))
	l.close(false)
}

func TestAReaderContinuesBehindALine(t *testing.T) {
	l := reopenLog(t, filepath.Join(t.TempDir(), "x.log"))
	l.add("one\ntwo\nthree")
	reader := &LogReader{log: l, next: 2}
	lines, err := reader.Next(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, []string{"two", "three"}, lines)
	assert.Equal(t, int64(3), reader.Number())
	ahead := &LogReader{log: l, next: 100}
	_, _, _ = ahead.read()
	l.add("four")
	lines, err = ahead.Next(testContext(t))
	require.NoError(t, err)
	assert.Equal(t, []string{"four"}, lines)
}
