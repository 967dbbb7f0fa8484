package track

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

// recorded is what a reader finds in a run folder: the steps in their order, and the steps that have pictures.
type recorded struct{ steps, pictures []int64 }

var readers = map[string]func(t *testing.T, dir string) recorded{
	job.TrackJSONL:       readJSONL,
	job.TrackTensorBoard: readTensorBoard,
	job.TrackWandb:       readWandb,
}

func readJSONL(t *testing.T, dir string) (r recorded) {
	data, err := os.ReadFile(filepath.Join(dir, metricsFile))
	require.NoError(t, err)
	for _, text := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var head struct {
			Type string
			Step int64
		}
		require.NoError(t, json.Unmarshal(text, &head))
		switch head.Type {
		case "step":
			r.steps = append(r.steps, head.Step)
		case "sample":
			r.pictures = append(r.pictures, head.Step)
		}
	}
	return r
}

func readTensorBoard(t *testing.T, dir string) (r recorded) {
	paths, err := filepath.Glob(filepath.Join(dir, "logs", "*", eventFilePrefix+"*"))
	require.NoError(t, err)
	for _, path := range paths {
		size, err := scanFrames(path, func(data []byte) bool {
			event, err := fields(data)
			require.NoError(t, err)
			values, err := fields(find(event, eventSummary).bytes)
			require.NoError(t, err)
			for _, value := range values[:min(1, len(values))] {
				list, err := fields(value.bytes)
				require.NoError(t, err)
				if has(list, valueNumber) {
					r.steps = append(r.steps, int64(find(event, eventStep).value))
				}
				if has(list, valueImage) {
					r.pictures = append(r.pictures, int64(find(event, eventStep).value))
				}
			}
			return true
		})
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, info.Size(), size, "%s is whole", path)
	}
	return r
}

func readWandb(t *testing.T, dir string) (r recorded) {
	runs, err := filepath.Glob(filepath.Join(dir, "wandb", "offline-run-*"))
	require.NoError(t, err)
	for _, run := range runs {
		records, err := readLog(wandbFile(run))
		require.NoError(t, err)
		for i, record := range records {
			list, err := fields(record.data)
			require.NoError(t, err)
			assert.Equal(t, int64(i+1), int64(find(list, recordNumber).value), "records are numbered")
			if history := find(list, recordHistory).bytes; history != nil {
				r.steps = append(r.steps, historyStepOf(history))
				if rowOf(history)["validation/red"] != nil {
					r.pictures = append(r.pictures, historyStepOf(history))
				}
			}
		}
	}
	return r
}

// damage appends bytes to every file, as a power cut may leave them.
func damage(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) == ".png" {
			return err
		}
		file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = file.WriteString(`{"type":"step","st`)
		require.NoError(t, file.Close())
		return err
	}))
}

func TestAResumeGoesOnWithoutDoubleSteps(t *testing.T) {
	cases := []struct {
		name        string
		first       int64 // last step of the first attempt
		orderly     bool  // its end is written
		from        int64 // step that the second attempt resumes from
		steps, pics []int64
	}{
		{"crash after the checkpoint", 6, false, 4, []int64{1, 2, 3, 4, 5, 6, 7, 8}, []int64{2}},
		{"stop at the checkpoint", 4, true, 4, []int64{1, 2, 3, 4, 5, 6, 7, 8}, []int64{2}},
		{"resume from an older checkpoint", 8, true, 2, []int64{1, 2, 3, 4, 5, 6, 7, 8}, []int64{2}},
		{"crash before the first checkpoint", 3, false, 0, []int64{1, 2, 3, 4, 5, 6, 7, 8}, []int64{2}},
		{"the checkpoint is ahead of the records", 3, false, 5, []int64{1, 2, 3, 6, 7, 8}, []int64{2}},
	}
	for _, c := range cases {
		for form, open := range openers {
			t.Run(c.name+"/"+form, func(t *testing.T) {
				s := goldenStart(t, 0)
				tr, err := open(s)
				require.NoError(t, err)
				recordSteps(t, tr, s, 1, c.first)
				if c.orderly {
					require.NoError(t, tr.close(false))
				} else {
					require.NoError(t, tr.flush())
					damage(t, "out/run")
				}
				s.step = c.from
				tr, err = open(s)
				require.NoError(t, err)
				recordSteps(t, tr, s, c.from+1, 8)
				require.NoError(t, tr.close(false))
				assert.Equal(t, recorded{c.steps, c.pics}, readers[form](t, "out/run"))
			})
		}
	}
}

func TestAResumeFromEveryByte(t *testing.T) {
	for form, open := range openers {
		t.Run(form, func(t *testing.T) {
			s := goldenStart(t, 0)
			tr, err := open(s)
			require.NoError(t, err)
			recordSteps(t, tr, s, 1, 4)
			require.NoError(t, tr.flush())
			path := filepath.Join("out/run", golden[form].written)
			whole, err := os.ReadFile(path)
			require.NoError(t, err)
			for size := 0; size < len(whole); size += 7 {
				require.NoError(t, os.RemoveAll("out/run"))
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, whole[:size], 0o644))
				again := s
				again.step, again.newID = 4, func() (string, error) { return "zzzzzzzz", nil }
				tr, err := open(again)
				require.NoError(t, err)
				recordSteps(t, tr, again, 5, 5)
				require.NoError(t, tr.close(false))
				steps := readers[form](t, "out/run").steps
				require.NotEmpty(t, steps)
				for i, step := range steps[:len(steps)-1] {
					require.Equal(t, int64(i+1), step, "cut at %d", size)
				}
				require.Equal(t, int64(5), steps[len(steps)-1])
			}
		})
	}
}

func TestOfflineRunsOfWandb(t *testing.T) {
	ids := func() []string {
		paths, err := filepath.Glob("out/run/wandb/offline-run-*/run-*.wandb")
		require.NoError(t, err)
		for i := range paths {
			paths[i] = filepath.Base(paths[i])
		}
		return paths
	}
	s := goldenStart(t, 0)
	attempt := func(step int64, id string) {
		s.step, s.newID = step, func() (string, error) { return id, nil }
		tr, err := openWandb(s)
		require.NoError(t, err)
		recordSteps(t, tr, s, step+1, 4)
		require.NoError(t, tr.close(false))
	}
	attempt(0, "aaaaaaaa")
	attempt(2, "bbbbbbbb")
	require.Equal(t, []string{"run-aaaaaaaa.wandb"}, ids(), "a resume goes on with the run")
	attempt(0, "bbbbbbbb")
	require.Equal(t, []string{"run-aaaaaaaa.wandb", "run-bbbbbbbb.wandb"}, ids(), "a new beginning after an end is a new run")
	runs, err := filepath.Glob("out/run/wandb/*bbbbbbbb/run-bbbbbbbb.wandb")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(runs[0]+".synced", nil, 0o644))
	before, err := os.ReadFile(runs[0])
	require.NoError(t, err)
	attempt(2, "cccccccc")
	after, err := os.ReadFile(runs[0])
	require.NoError(t, err)
	assert.Equal(t, before, after, "what is uploaded is not changed")
	assert.Equal(t, []string{"run-aaaaaaaa.wandb", "run-bbbbbbbb.wandb", "run-bbbbbbbb.wandb"}, ids())
}

func TestLogRecordsOfEverySize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log := append([]byte(nil), logFileHeader...)
	var sizes []int
	for _, size := range []int{0, 1, 32<<10 - 7 - 7 - 8, 0, 3, 32<<10 - 30, 5, 1, 2, 32<<10 - 7, 100 << 10, 9} {
		for range 3 {
			sizes = append(sizes, size)
			log = append(log, appendLog(int64(len(log)), bytes.Repeat([]byte{byte(len(sizes))}, size))...)
		}
	}
	require.NoError(t, os.WriteFile(path, log, 0o644))
	records, err := readLog(path)
	require.NoError(t, err)
	require.Len(t, records, len(sizes))
	end := int64(len(logFileHeader))
	for i, record := range records {
		assert.Equal(t, end, record.start)
		assert.Equal(t, bytes.Repeat([]byte{byte(i + 1)}, sizes[i]), append([]byte{}, record.data...))
		end = record.end
	}
	assert.Equal(t, int64(len(log)), end)
	log[len(log)-1] ^= 1
	require.NoError(t, os.WriteFile(path, log, 0o644))
	records, err = readLog(path)
	require.NoError(t, err)
	assert.Len(t, records, len(sizes)-1, "a damaged record is not used")
}
