package run

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/internal/fixture"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// busyMachine has little memory until the first plan is admitted.
type busyMachine struct {
	fake.Engine
	plans int
}

func (e *busyMachine) Plan(ctx context.Context, config engine.Config, shapes []engine.Shape) (engine.Plan, error) {
	plan, err := e.Engine.Plan(ctx, config, shapes)
	e.plans++
	plan.Fits = e.plans > 1
	return plan, err
}

func TestAPlanIsMadeAgainWhenItsTurnComes(t *testing.T) {
	j := fixture.Job(t, t.TempDir())
	control, e := NewControl(), &busyMachine{}
	control.Allow(j.Steps)
	outcome, err := Run(context.Background(), Request{Job: j, CacheDir: t.TempDir()}, e, control, &recorder{})
	require.NoError(t, err)
	assert.Equal(t, Completed, outcome)
	assert.Equal(t, 2, e.plans)
}
