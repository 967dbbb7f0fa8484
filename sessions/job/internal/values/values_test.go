package values

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestNumber(t *testing.T) {
	for _, value := range []any{json.Number("1e3"), " 1000 ", "1e3", 1000.0, 1000, int64(1000), uint64(1000)} {
		number, ok := Number(value)
		require.True(t, ok, "%v", value)
		require.Equal(t, 1000.0, number)
	}
	for _, value := range []any{nil, true, "", "abc", "NaN", "inf", "0x10", "1_000", "1e400", math.NaN(), math.Inf(1), []any{1}, map[string]any{}} {
		_, ok := Number(value)
		require.False(t, ok, "%v", value)
	}
}

func TestShow(t *testing.T) {
	require.Equal(t, "nothing", Show(nil))
	require.Equal(t, `"a\"b"`, Show(`a"b`))
	require.Equal(t, "1.5", Show(json.Number("1.5")))
	require.Equal(t, "NaN", Show(math.NaN()))
	long := Show(strings.Repeat("ä", 100))
	require.True(t, utf8.ValidString(long))
	require.LessOrEqual(t, len(long), 120)
}

func TestPutAndApply(t *testing.T) {
	document := map[string]any{}
	Put(document, "a.b", 3)
	Put(document, "a.c", "x")
	Put(document, "d", true)
	target := struct {
		A struct {
			B int    `json:"b"`
			C string `json:"c"`
			E int    `json:"e"`
		} `json:"a"`
		D bool `json:"d"`
	}{}
	target.A.E = 7
	require.NoError(t, Apply(document, &target))
	require.Equal(t, 3, target.A.B)
	require.Equal(t, "x", target.A.C)
	require.Equal(t, 7, target.A.E, "what the document does not name stays")
	require.True(t, target.D)
	require.Error(t, Apply(map[string]any{"d": "no"}, &target))
	require.Error(t, Apply(map[string]any{"d": math.NaN()}, &target))
}

func TestEqual(t *testing.T) {
	for _, pair := range [][2]any{{1, 1.0}, {json.Number("0.10"), 0.1}, {"a", "a"}, {true, true}, {nil, nil}, {"1", 1}} {
		require.True(t, Equal(pair[0], pair[1]), "%v", pair)
	}
	for _, pair := range [][2]any{{1, 2}, {"a", nil}, {true, "true"}, {[]any{}, []any{}}, {map[string]any{}, nil}} {
		require.False(t, Equal(pair[0], pair[1]), "%v", pair)
	}
}
