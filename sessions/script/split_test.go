package script

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The expected arguments are those of Python 3.13's shlex.split.
func TestSplit(t *testing.T) {
	tests := []struct {
		line    string
		want    []string
		problem string
	}{
		{"a b  c", []string{"a", "b", "c"}, ""},
		{" \ta\nb\r\n", []string{"a", "b"}, ""},
		{"  ", nil, ""},
		{`a "b c" 'd e'`, []string{"a", "b c", "d e"}, ""},
		{`a b\ c`, []string{"a", "b c"}, ""},
		{`a"b"'c'd`, []string{"abcd"}, ""},
		{`a "" ''`, []string{"a", "", ""}, ""},
		{`a "b\"c" "d\e" "f\\g" "\$h"`, []string{"a", `b"c`, `d\e`, `f\g`, `\$h`}, ""},
		{`a 'b\'`, []string{"a", `b\`}, ""},
		{"a \\\n b", []string{"a", "\n", "b"}, ""},
		{"a\u00a0b ü\v", []string{"a\u00a0b", "ü\v"}, ""},
		{"upload --tag #7 a#b '#c'", []string{"upload", "--tag", "#7", "a#b", "#c"}, ""},
		{"# x", []string{"#", "x"}, ""},
		{`a "b`, nil, "not closed"},
		{`a 'b`, nil, "not closed"},
		{`a "b\`, nil, "not closed"},
		{`a\`, nil, "backslash"},
	}
	for _, test := range tests {
		t.Run(test.line, func(t *testing.T) {
			got, err := split(test.line)
			if test.problem != "" {
				require.ErrorContains(t, err, test.problem)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}
