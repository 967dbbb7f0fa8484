package tokenize

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClean(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"  An Emoji of\tCAT \n", "an emoji of\tcat"}, {"ÀÉÎ", "àéî"}, {"ΟΔΟΣ", "οδος"}, {"", ""},
	} {
		require.Equal(t, test.want, Clean(test.text))
	}
}
