package fake

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
)

type losses struct {
	values   []float64
	previews []engine.PreviewEvent
}

func (l *losses) OnStep(e engine.StepEvent)       { l.values = append(l.values, e.Loss) }
func (l *losses) OnProgress(engine.ProgressEvent) {}
func (l *losses) OnPreview(e engine.PreviewEvent) { l.previews = append(l.previews, e) }

func openSession(t *testing.T, faults Faults) (engine.Session, *losses) {
	t.Helper()
	dir := t.TempDir()
	config := engine.Config{Model: dir, Seed: 3, Optimizer: engine.Optimizer{Name: "adamw", LR: 0.1, Params: map[string]float64{"eps": 1e-8}}}
	faults.Order(&config)
	sink := &losses{}
	s, err := (&Engine{}).Open(context.Background(), config, sink)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	entry := filepath.Join(dir, "entry")
	require.NoError(t, os.Mkdir(entry, 0o700))
	latents, text := filepath.Join(entry, "latents"), filepath.Join(entry, "text")
	require.NoError(t, os.WriteFile(latents, nil, 0o600))
	require.NoError(t, os.WriteFile(text, nil, 0o600))
	require.NoError(t, s.SetSamples([]engine.Sample{{Latents: latents, Text: text}, {Latents: latents, Text: text}}, engine.TextFile{Path: text}))
	return s, sink
}

func steps(from, to int64) (list []engine.Step) {
	for k := from; k < to; k++ {
		list = append(list, engine.Step{Batches: []engine.Batch{{Index: k, Samples: []int{int(k % 2)}}}})
	}
	return list
}

func TestARestoredSessionContinuesBitForBit(t *testing.T) {
	ctx := context.Background()
	whole, all := openSession(t, Faults{})
	_, err := whole.Train(ctx, steps(0, 10))
	require.NoError(t, err)

	first, head := openSession(t, Faults{})
	_, err = first.Train(ctx, steps(0, 4))
	require.NoError(t, err)
	dir := t.TempDir()
	files, err := first.Save(ctx, dir)
	require.NoError(t, err)
	for _, name := range files {
		assert.FileExists(t, filepath.Join(dir, name))
	}
	second, tail := openSession(t, Faults{})
	require.NoError(t, second.Restore(ctx, dir))
	_, err = second.Train(ctx, steps(4, 10))
	require.NoError(t, err)
	assert.Equal(t, all.values, append(head.values, tail.values...))
	assert.Equal(t, int64(10), second.Step())

	cold, other := openSession(t, Faults{})
	_, err = cold.Train(ctx, steps(4, 10))
	require.NoError(t, err)
	assert.NotEqual(t, tail.values, other.values, "the state matters")
}

func TestOrderedFailures(t *testing.T) {
	ctx := context.Background()
	s, _ := openSession(t, Faults{FailAt: 3, FailCode: engine.Numeric})
	result, err := s.Train(ctx, steps(0, 5))
	var failure *engine.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, engine.Numeric, failure.Code)
	assert.Equal(t, int64(2), result.Steps)
	assert.Equal(t, int64(2), s.Step())
	_, err = s.Save(ctx, t.TempDir())
	assert.NoError(t, err, "still usable")

	s, _ = openSession(t, Faults{FailAt: 1, FailCode: engine.DeviceLost})
	_, err = s.Train(ctx, steps(0, 1))
	require.Error(t, err)
	_, err = s.Save(ctx, t.TempDir())
	assert.Error(t, err, "poisoned")
}

func TestCancelStopsAtTheEndOfAStep(t *testing.T) {
	s, _ := openSession(t, Faults{})
	ctx, cancel := context.WithCancel(context.Background())
	s.(*session).engine = &Engine{OnStep: func(_ context.Context, step int64) error {
		if step == 2 {
			cancel()
		}
		return nil
	}}
	result, err := s.Train(ctx, steps(0, 5))
	require.NoError(t, err)
	assert.Equal(t, engine.Result{Steps: 2, Cancelled: true}, result)
}

func TestPreviewsComeAtTheFirstStepThenAtTheIntervalAndAtTheLast(t *testing.T) {
	tests := []struct {
		steps, every int
		want         []int
	}{
		{20, 4, []int{1, 5, 9, 13, 17, 20}},
		{5, 1, []int{1, 2, 3, 4, 5}},
		{3, 10, []int{1, 3}},
		{1, 4, []int{1}},
	}
	for _, test := range tests {
		s, sink := openSession(t, Faults{})
		dir := t.TempDir()
		require.NoError(t, s.Sample(context.Background(), []engine.SampleRequest{{Width: 64, Height: 64, Steps: test.steps,
			Out: filepath.Join(dir, "out.png"), Preview: &engine.Preview{Every: test.every, Out: filepath.Join(dir, "step{step}.png")}}}))
		var steps []int
		for _, event := range sink.previews {
			steps = append(steps, event.Step)
			assert.Equal(t, test.steps, event.Steps)
			assert.FileExists(t, event.Path)
		}
		assert.Equal(t, test.want, steps)
	}
}

func TestEvaluateDependsOnWeightsFilesAndNoise(t *testing.T) {
	ctx := context.Background()
	s, _ := openSession(t, Faults{})
	file := filepath.Join(t.TempDir(), "latents")
	require.NoError(t, os.WriteFile(file, []byte("picture"), 0o600))
	batch := engine.Evaluation{Samples: []engine.Sample{{Latents: file}}, Timesteps: 3}
	evaluate := func(b engine.Evaluation) []float64 {
		t.Helper()
		losses, err := s.Evaluate(ctx, []engine.Evaluation{b})
		require.NoError(t, err)
		require.Len(t, losses, 1)
		return losses[0]
	}
	first := evaluate(batch)
	assert.Len(t, first, 3)
	assert.Equal(t, first, evaluate(batch))
	other := batch
	other.First = 1
	assert.NotEqual(t, first, evaluate(other))
	_, err := s.Train(ctx, steps(0, 1))
	require.NoError(t, err)
	assert.NotEqual(t, first, evaluate(batch))

	failing, _ := openSession(t, Faults{EvalCode: engine.OutOfMemory})
	_, err = failing.Evaluate(ctx, []engine.Evaluation{batch})
	var failure *engine.Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, engine.OutOfMemory, failure.Code)
}
