package script

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	known := func(name string) bool { return strings.HasPrefix(name, "validation_") }
	tests := []struct {
		line    string
		want    []string
		problem string
	}{
		{"/opt/hook.sh", []string{"/opt/hook.sh"}, ""},
		{`hook  '{global_step}' --path="{local_checkpoint_path}/x y" {validation_seed}`,
			[]string{"hook", "{global_step}", "--path={local_checkpoint_path}/x y", "{validation_seed}"}, ""},
		{`hook a;b $(id) ~ $HOME | c`, []string{"hook", "a;b", "$(id)", "~", "$HOME", "|", "c"}, ""},
		{`hook '{"json": 1}'`, []string{"hook", `{"json": 1}`}, ""},
		{"hook {wrong} {also_wrong} {wrong}", nil, "unknown placeholders: {also_wrong}, {wrong}"},
		{"{global_step} x", nil, "program itself"},
		{"", nil, "empty"},
		{`hook "open`, nil, "not closed"},
		{"hook #1 {global_step}", []string{"hook", "#1", "{global_step}"}, ""},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			got, err := Parse(test.line, known)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestExpand(t *testing.T) {
	values := map[string]string{"a": "x y; rm", "empty": "", "minus": "-rf"}
	got, err := Expand([]string{"p", "{a}", "--v={a}{empty}", "{empty}", "--m={minus}"}, values)
	require.NoError(t, err)
	assert.Equal(t, []string{"p", "x y; rm", "--v=x y; rm", "", "--m=-rf"}, got, "a value stays one argument")
	_, err = Expand([]string{"p", "{minus}", "{none}", "{empty}{minus}"}, values)
	require.ErrorContains(t, err, `would become the option "-rf"`)
	require.ErrorContains(t, err, "{none}")
	assert.True(t, Uses([]string{"p", "x={a}"}, "a"))
	assert.False(t, Uses([]string{"p", "a"}, "a"))
}

func TestAllow(t *testing.T) {
	a, err := ParseAllow([]string{"hook=/opt/hook.sh {global_step}", "eq=/bin/x --a=b"}, false)
	require.NoError(t, err)
	for command, want := range map[string]string{"hook": "/opt/hook.sh {global_step}", " /opt/hook.sh {global_step} ": "/opt/hook.sh {global_step}",
		"eq": "/bin/x --a=b", "/opt/hook.sh": "", "rm -rf /": "", "": ""} {
		line, ok := a.Resolve(command)
		assert.Equal(t, want != "", ok, command)
		if ok {
			assert.Equal(t, want, line)
		}
	}
	assert.True(t, a.Permits([]string{"/opt/hook.sh", "{global_step}"}))
	assert.False(t, a.Permits([]string{"/opt/hook.sh", "{global_step}", "x"}))
	_, ok := (*Allow)(nil).Resolve("hook")
	assert.False(t, ok)
	assert.False(t, (*Allow)(nil).Permits([]string{"hook"}))
	a, err = ParseAllow(nil, true)
	require.NoError(t, err)
	line, ok := a.Resolve("anything else")
	assert.True(t, ok)
	assert.Equal(t, "anything else", line)
	assert.True(t, a.Permits([]string{"anything", "else"}))
	for _, bad := range []string{"no-command", "=x", "a b=x", "a=", "a='"} {
		_, err := ParseAllow([]string{bad}, false)
		assert.Error(t, err, bad)
	}
	_, err = ParseAllow([]string{"a=x", "a=y"}, false)
	assert.ErrorContains(t, err, "twice")
}

// shell writes an executable shell script.
func shell(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script.sh")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
	return path
}

func TestRun(t *testing.T) {
	t.Setenv("STEPD_TOKEN", "secret")
	t.Setenv("PLAIN_VARIABLE", "secret too")
	var lines []string
	dir := t.TempDir()
	result := Run(context.Background(), Command{Argv: []string{shell(t, `pwd; echo "$1|$#"; env; echo err >&2; exit 3`), "a b"}, Dir: dir,
		Output: func(line string) { lines = append(lines, line) }})
	assert.Equal(t, 3, result.ExitCode)
	assert.Contains(t, result.Problem, "exit status 3")
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{real, "a b|1"}, lines[:2])
	assert.Contains(t, lines, "err")
	assert.NotContains(t, strings.Join(lines, "\n"), "secret")
	assert.Contains(t, result.Tail, "a b|1")

	result = Run(context.Background(), Command{Argv: []string{shell(t, "exit 0")}})
	assert.Equal(t, Result{Seconds: result.Seconds}, result)
	result = Run(context.Background(), Command{Argv: []string{filepath.Join(dir, "none")}})
	assert.Equal(t, -1, result.ExitCode)
	assert.Contains(t, result.Problem, "find program")
}

// What a script started and left behind may still print, for a moment; one that holds the output for ever is killed.
func TestWhatIsLeftBehindMayFinishItsOutput(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	require.NoError(t, syscall.Mkfifo(gate, 0o600))
	go func() { _ = os.WriteFile(gate, []byte("late\n"), 0) }() // waits for the reader
	result := Run(context.Background(), Command{Argv: []string{shell(t, "cat "+gate+" &\nexit 0")}})
	assert.Empty(t, result.Problem)
	assert.Equal(t, "late", result.Tail)

	result = Run(context.Background(), Command{Argv: []string{shell(t, "sleep 1000 &\necho $!; exit 0")}})
	assert.Empty(t, result.Problem)
	var left int
	_, err := fmt.Sscan(result.Tail, &left)
	require.NoError(t, err)
	assert.Eventually(t, func() bool { return gone(left) }, 5*time.Second, 10*time.Millisecond)
}

func TestAScriptThatEndsWellWhenItIsKilledHasAProblem(t *testing.T) {
	begun := filepath.Join(t.TempDir(), "begun")
	require.NoError(t, syscall.Mkfifo(begun, 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan Result)
	go func() {
		done <- Run(ctx, Command{Argv: []string{shell(t, "trap 'exit 0' TERM\nsleep 1000 &\necho > "+begun+"\nwait")}})
	}()
	_, err := os.ReadFile(begun) // waits for the script
	require.NoError(t, err)
	cancel()
	result := <-done
	assert.Contains(t, result.Problem, "the run ended")
}

func TestTheDeadlineAndTheSessionEndTheWholeGroup(t *testing.T) {
	for _, byDeadline := range []bool{true, false} {
		dir := t.TempDir()
		pids := filepath.Join(dir, "pids")
		require.NoError(t, syscall.Mkfifo(pids, 0o600))
		path := shell(t, fmt.Sprintf("trap '' TERM\nsleep 1000 &\necho $$ $! > %s\nwait; wait", pids))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		timeout := time.Duration(0)
		if byDeadline {
			timeout = 2 * time.Second // time for the script to begin on a machine under load
		}
		done := make(chan Result)
		go func() { done <- Run(ctx, Command{Argv: []string{path}, Timeout: timeout}) }()
		data, err := os.ReadFile(pids) // waits for the script
		require.NoError(t, err)
		var script, child int
		_, err = fmt.Sscan(string(data), &script, &child)
		require.NoError(t, err)
		if !byDeadline {
			cancel()
		}
		result := <-done
		assert.Equal(t, -1, result.ExitCode)
		assert.Contains(t, result.Problem, "killed")
		assert.Eventually(t, func() bool { return gone(script) && gone(child) }, 5*time.Second, 10*time.Millisecond)
	}
}

// gone also counts what only waits to be reaped by another process.
func gone(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(data), ") Z ")
}

func TestOutputIsBounded(t *testing.T) {
	kept := 0
	last := ""
	result := Run(context.Background(), Command{Argv: []string{shell(t, "yes 0123456789 | head -c 3000000; printf end")},
		Output: func(line string) { kept += len(line) + 1; last = line }})
	assert.Empty(t, result.Problem)
	assert.LessOrEqual(t, kept, MaxOutput+64<<10)
	assert.Equal(t, "(more output was left out)", last)
	assert.True(t, strings.HasSuffix(result.Tail, "end"))
	assert.LessOrEqual(t, len(result.Tail), tailBytes)
}

func TestLongLinesComeInPieces(t *testing.T) {
	var lines []string
	o := &output{line: func(line string) { lines = append(lines, line) }}
	_, _ = o.Write([]byte(strings.Repeat("x", maxLine+10) + "\nshort\n\nunfinished"))
	o.flush()
	assert.Equal(t, []string{strings.Repeat("x", maxLine), strings.Repeat("x", 10), "short", "unfinished"}, lines)
}
