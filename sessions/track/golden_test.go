package track

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

var update = flag.Bool("update", false, "write the golden files; check them with testdata/check.py")

// golden is where the files of a form are kept, and where a run has them.
var golden = map[string]struct{ kept, written string }{
	job.TrackJSONL:       {"metrics.jsonl", "metrics.jsonl"},
	job.TrackTensorBoard: {"events.out.tfevents.golden", "logs/my project/events.out.tfevents.1700000000.stepd.000"},
	job.TrackWandb:       {"run-abcd1234.wandb", "wandb/offline-run-20231114_221320-abcd1234/run-abcd1234.wandb"},
}

// goldenStart is a run whose files do not depend on this machine.
func goldenStart(t *testing.T, step int64) start {
	t.Helper()
	t.Chdir(t.TempDir())
	require.NoError(t, os.WriteFile("picture.png", tinyPNG, 0o644))
	now := time.Unix(1_700_000_000, 0).UTC()
	return start{
		dir: "out/run", project: "my project", run: "my run", step: step,
		config: json.RawMessage(`{"name":"run","engine":{"seed":7,"optimizer":{"name":"adamw","lr":0.0001}},"steps":4}`),
		newID:  func() (string, error) { return "abcd1234", nil },
		now: func() time.Time {
			now = now.Add(250 * time.Millisecond)
			return now
		},
	}
}

// tinyPNG is one red pixel.
var tinyPNG = []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\b\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\fIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82")

// recordSteps writes steps first to last, with a picture after the second step and a checkpoint at the last.
func recordSteps(t *testing.T, tr tracker, s start, first, last int64) {
	t.Helper()
	for i := first; i <= last; i++ {
		require.NoError(t, tr.step(step{StepEvent: engine.StepEvent{Step: i, Loss: 1 / float64(i), LR: 1e-4, GradNorm: 0.5, Seconds: 0.25},
			epoch: i / 2, time: s.now()}))
		if i == 2 {
			require.NoError(t, tr.sample(sample{Sample: run.Sample{Step: i, Path: "picture.png",
				Prompt: job.Prompt{Text: "a red pixel", Name: "red", Width: 1, Height: 1, Seed: 7}}, time: s.now()}))
		}
	}
	require.NoError(t, tr.checkpoint(saved{step: last, path: "out/run/checkpoint-4", reason: "final", time: s.now()}))
	require.NoError(t, tr.sync())
}

// The golden files have been read by tensorboard 2.21 and uploaded by wandb 0.31.
func TestGoldenFiles(t *testing.T) {
	folder, err := filepath.Abs("testdata/golden")
	require.NoError(t, err)
	for form, paths := range golden {
		t.Run(form, func(t *testing.T) {
			s := goldenStart(t, 0)
			tr, err := openers[form](s)
			require.NoError(t, err)
			recordSteps(t, tr, s, 1, 4)
			require.NoError(t, tr.close(false))
			got, err := os.ReadFile(filepath.Join("out/run", paths.written))
			require.NoError(t, err)
			if *update {
				require.NoError(t, os.MkdirAll(folder, 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(folder, paths.kept), got, 0o644))
			}
			want, err := os.ReadFile(filepath.Join(folder, paths.kept))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}
