//go:build cgo && !nonative

package cgo

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
)

func TestEvaluateLeavesTheTrainingAsItIs(t *testing.T) {
	ctx := context.Background()
	events := &recorder{}
	session, straight := openTiny(t, events), openTiny(t, &recorder{})
	batches := []engine.Evaluation{{Samples: encodeTiny(t, session), Timesteps: 4}, {Samples: encodeTiny(t, session)[:1], Timesteps: 2}}
	first, err := session.Evaluate(ctx, batches)
	require.NoError(t, err)
	require.Len(t, first, 2)
	require.Len(t, first[0], 4)
	require.Len(t, first[1], 2)
	for _, loss := range first[0] {
		assert.Positive(t, loss)
	}
	assert.Contains(t, events.progress, engine.ProgressEvent{Stage: "evaluate", Done: 6, Total: 6})

	for _, s := range []engine.Session{session, straight} {
		_, err := s.Train(ctx, tinySteps(0, 2))
		require.NoError(t, err)
	}
	second, err := session.Evaluate(ctx, batches)
	require.NoError(t, err)
	assert.NotEqual(t, first, second, "the weights have changed")
	_, want := checkpoint(t, straight)
	_, got := checkpoint(t, session)
	assert.Equal(t, want, got)
}

func TestEvaluateRefusesByName(t *testing.T) {
	session := openTiny(t, &recorder{})
	samples := encodeTiny(t, session)
	tests := []struct {
		batch engine.Evaluation
		code  engine.Code
		names string
	}{
		{engine.Evaluation{Samples: samples, Timesteps: 1001}, engine.Invalid, "1001"},
		{engine.Evaluation{Timesteps: 2}, engine.Invalid, "no samples"},
		{engine.Evaluation{Samples: samples, First: -1, Timesteps: 2}, engine.Invalid, "evaluation.first"},
		{engine.Evaluation{Samples: []engine.Sample{{Latents: "/nowhere", Text: "/nowhere"}}, Timesteps: 2}, engine.NotFound, "/nowhere"},
	}
	for _, test := range tests {
		_, err := session.Evaluate(context.Background(), []engine.Evaluation{test.batch})
		var failure *engine.Error
		require.ErrorAs(t, err, &failure)
		assert.Equal(t, test.code, failure.Code)
		assert.ErrorContains(t, err, test.names)
	}
	_, err := session.Evaluate(context.Background(), []engine.Evaluation{{Samples: samples, Timesteps: 1}})
	assert.NoError(t, err, "the session stays usable")
}

func TestPlanCountsEvaluations(t *testing.T) {
	core, err := Open()
	require.NoError(t, err)
	config := tinyConfig(tinyModel(t, core))
	trained := engine.Shape{Width: 32, Height: 32, TextTokens: 8, Batch: 1}
	plan := func(shapes ...engine.Shape) engine.Plan {
		plan, err := core.Plan(context.Background(), config, shapes)
		require.NoError(t, err)
		return plan
	}
	large := engine.Shape{Width: 256, Height: 256, TextTokens: 8, Batch: 4, Evaluation: true}
	assert.Greater(t, plan(trained, large).Activations, plan(trained).Activations)
	assert.Equal(t, plan(trained).FLOP, plan(trained, large).FLOP)
}
