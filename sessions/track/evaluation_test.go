package track

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/run"
)

// lossesOf reads loss/val/own by step, in the order of the file.
var lossesOf = map[string]func(t *testing.T, dir string) (steps []int64, losses []float64){
	job.TrackJSONL: func(t *testing.T, dir string) (steps []int64, losses []float64) {
		data, err := os.ReadFile(filepath.Join(dir, metricsFile))
		require.NoError(t, err)
		for text := range bytes.Lines(data) {
			var l struct {
				Type   string
				Step   int64
				Losses []run.DatasetLoss
				Pooled float64
			}
			require.NoError(t, json.Unmarshal(text, &l))
			if l.Type == "evaluation" {
				steps, losses = append(steps, l.Step), append(losses, l.Losses[0].Loss)
				assert.Equal(t, 0.5, l.Pooled)
			}
		}
		return steps, losses
	},
	job.TrackTensorBoard: func(t *testing.T, dir string) (steps []int64, losses []float64) {
		paths, err := filepath.Glob(filepath.Join(dir, "logs", "*", eventFilePrefix+"*"))
		require.NoError(t, err)
		for _, path := range paths {
			_, err := scanFrames(path, func(data []byte) bool {
				event, err := fields(data)
				require.NoError(t, err)
				values, err := fields(find(event, eventSummary).bytes)
				require.NoError(t, err)
				for _, value := range values {
					list, err := fields(value.bytes)
					require.NoError(t, err)
					if string(find(list, valueTag).bytes) == "loss/val/own" {
						steps = append(steps, int64(find(event, eventStep).value))
						losses = append(losses, float64(math.Float32frombits(binary.LittleEndian.Uint32(value.bytes[len(value.bytes)-4:]))))
					}
				}
				return true
			})
			require.NoError(t, err)
		}
		return steps, losses
	},
	job.TrackWandb: func(t *testing.T, dir string) (steps []int64, losses []float64) {
		runs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*"))
		require.NoError(t, err)
		for _, run := range runs {
			records, err := readLog(wandbFile(run))
			require.NoError(t, err)
			for i, record := range records {
				list, err := fields(record.data)
				require.NoError(t, err)
				require.Equal(t, int64(i+1), int64(find(list, recordNumber).value), "records are numbered")
				row := rowOf(find(list, recordHistory).bytes)
				if text := row["loss/val/own"]; text != nil {
					var loss float64
					require.NoError(t, json.Unmarshal(text, &loss))
					steps, losses = append(steps, historyStepOf(find(list, recordHistory).bytes)), append(losses, loss)
					assert.NotNil(t, row["train_loss"], "the row of the step has both")
				}
			}
		}
		return steps, losses
	},
}

// recordEvaluated writes steps first to last and an evaluation after every second.
func recordEvaluated(t *testing.T, tr tracker, s start, first, last int64) {
	t.Helper()
	pooled := 0.5
	for i := first; i <= last; i++ {
		require.NoError(t, tr.step(step{StepEvent: engine.StepEvent{Step: i, Loss: 1}, time: s.now()}))
		if i%2 == 0 {
			losses := []run.DatasetLoss{{Dataset: "own", Loss: 1 / float64(i), Pictures: 3}}
			require.NoError(t, tr.evaluation(evaluation{Evaluation: run.Evaluation{Step: i, Losses: losses, Pooled: &pooled}, time: s.now()}))
		}
	}
}

func TestEvaluationsAreRecordedAndResumed(t *testing.T) {
	for form, read := range lossesOf {
		t.Run(form, func(t *testing.T) {
			s := goldenStart(t, 0)
			tr, err := openers[form](s)
			require.NoError(t, err)
			recordEvaluated(t, tr, s, 1, 5)
			require.NoError(t, tr.close(true))
			s.step = 3 // what came after the checkpoint comes again
			again, err := openers[form](s)
			require.NoError(t, err)
			recordEvaluated(t, again, s, 4, 8)
			require.NoError(t, again.close(false))
			steps, losses := read(t, s.dir)
			assert.Equal(t, []int64{2, 4, 6, 8}, steps)
			assert.InDeltaSlice(t, []float64{1. / 2, 1. / 4, 1. / 6, 1. / 8}, losses, 1e-7)
		})
	}
}
