package track

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzResume resumes from files of any content: whatever a crash or a stranger left, the run goes on and its files are sound.
func FuzzResume(f *testing.F) {
	for form, paths := range golden {
		data, err := os.ReadFile(filepath.Join("testdata/golden", paths.kept))
		require.NoError(f, err)
		f.Add(form, data, int64(2))
		f.Add(form, data[:len(data)/2], int64(4))
	}
	f.Fuzz(func(t *testing.T, form string, data []byte, from int64) {
		open, known := openers[form]
		if !known || from < 0 || from > 1000 {
			t.Skip()
		}
		s := goldenStart(t, from)
		path := filepath.Join("out/run", golden[form].written)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, data, 0o644))
		tr, err := open(s)
		require.NoError(t, err)
		recordSteps(t, tr, s, from+1, from+2)
		require.NoError(t, tr.close(false))
		steps := readers[form](t, "out/run").steps
		require.GreaterOrEqual(t, len(steps), 2)
		require.Equal(t, []int64{from + 1, from + 2}, steps[len(steps)-2:])
	})
}
