//go:build cgo && !nonative

package cgo

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
)

// number is a number of a configuration and the values on both sides of its limits.
type number struct {
	field    string
	set      func(c *engine.Config, value float64)
	accepted []float64
	refused  []float64
}

// falling gives the configuration a schedule for which every setting matters.
func falling(name string, set func(s *engine.Schedule, value float64)) func(*engine.Config, float64) {
	return func(c *engine.Config, value float64) {
		c.Schedule = engine.Schedule{Name: name, Steps: 100}
		set(&c.Schedule, value)
	}
}

func param(name string) func(*engine.Config, float64) {
	return func(c *engine.Config, value float64) { c.Optimizer.Params = map[string]float64{name: value} }
}

func adapter(set func(a *engine.Adapter, value float64)) func(*engine.Config, float64) {
	return func(c *engine.Config, value float64) {
		c.Adapter = &engine.Adapter{Type: "lora", Rank: 2, Alpha: 2}
		set(c.Adapter, value)
	}
}

func average(set func(e *engine.EMA, value float64)) func(*engine.Config, float64) {
	return func(c *engine.Config, value float64) {
		c.EMA = &engine.EMA{Decay: 0.9}
		set(c.EMA, value)
	}
}

var numbers = []number{
	{"optimizer.lr", func(c *engine.Config, v float64) { c.Optimizer.LR = v }, []float64{0, 1e-9, 1e6}, []float64{-1e-9, 1.1e6}},
	{"optimizer.params.beta1", param("beta1"), []float64{0, 0.999}, []float64{-0.1, 1}},
	{"optimizer.params.beta2", param("beta2"), []float64{0, 0.9999}, []float64{-0.1, 1}},
	{"optimizer.params.eps", param("eps"), []float64{0, 1e-8}, []float64{-1e-8, 1}},
	{"optimizer.params.weight_decay", param("weight_decay"), []float64{0, 999}, []float64{-1, 1000}},
	{"clip.norm", func(c *engine.Config, v float64) { c.Clip.Norm = v }, []float64{0, 1, math.MaxFloat32}, []float64{-1, 1e39}},
	{"clip.value", func(c *engine.Config, v float64) { c.Clip.Value = v }, []float64{0, 2, math.MaxFloat32}, []float64{-1, 1e39}},
	{"schedule.warmup", falling("linear", func(s *engine.Schedule, v float64) { s.Warmup = int64(v) }), []float64{0, 1e6}, []float64{-1}},
	{"schedule.steps", falling("linear", func(s *engine.Schedule, v float64) { s.Steps = int64(v) }), []float64{1, 1e6}, []float64{0, -1}},
	{"schedule.cycles", falling("cosine", func(s *engine.Schedule, v float64) { s.Cycles = v }), []float64{0, 0.5, 100}, []float64{-1}},
	{"schedule.power", falling("polynomial", func(s *engine.Schedule, v float64) { s.Power = v }), []float64{0, 2}, []float64{-1}},
	{"schedule.lr_end", falling("cosine", func(s *engine.Schedule, v float64) { s.LREnd = v }), []float64{0, 1e-2}, []float64{-1, 1.1e-2}},
	{"schedule.lr_end", falling("polynomial", func(s *engine.Schedule, v float64) { s.LREnd = v }), []float64{0, 0.9e-2}, []float64{-1, 1e-2}},
	{"loss.huber_c", func(c *engine.Config, v float64) { c.Loss.Type, c.Loss.HuberC = "huber", v }, []float64{0, 0.1, 1}, []float64{-0.1, 1.1}},
	{"loss.snr_gamma", func(c *engine.Config, v float64) { c.Loss.Prediction, c.Loss.SNRGamma = "epsilon", v }, []float64{0, 5, 1e6}, []float64{-1, 1.1e6}},
	{"noise.sigmoid_scale", func(c *engine.Config, v float64) { c.Noise.SigmoidScale = v }, []float64{0, 1e-3, 1e3}, []float64{-1, 1e-4, 1.1e3}},
	{"noise.shift", func(c *engine.Config, v float64) { c.Noise.Shift = v }, []float64{0, 1e-3, 1e3}, []float64{-1, 1e-4, 1.1e3}},
	{"noise.offset", func(c *engine.Config, v float64) { c.Noise.Offset = v }, []float64{-10, 0, 10}, []float64{-10.1, 10.1}},
	{"noise.offset_probability", func(c *engine.Config, v float64) { c.Noise.OffsetProbability = v }, []float64{0, 0.25, 1}, []float64{-0.1, 1.1}},
	{"adapter.rank", adapter(func(a *engine.Adapter, v float64) { a.Rank = int(v) }), []float64{1, 64, 65536}, []float64{0, -1, 65537}},
	{"adapter.alpha", adapter(func(a *engine.Adapter, v float64) { a.Alpha = v }), []float64{1e-3, 1e6}, []float64{0, -1, 1.1e6}},
	{"adapter.dropout", adapter(func(a *engine.Adapter, v float64) { a.Dropout = v }), []float64{0, 0.99}, []float64{-0.1, 1}},
	{"ema.decay", average(func(e *engine.EMA, v float64) { e.Decay = v }), []float64{0, 0.9999, 1}, []float64{-0.1, 1.1}},
	{"ema.inv_gamma", average(func(e *engine.EMA, v float64) { e.InvGamma = v }), []float64{0, 1e-6, 1e9}, []float64{-1, 1e-7, 1.1e9}},
	{"ema.power", average(func(e *engine.EMA, v float64) { e.Power = v }), []float64{0, 1e-6, 100}, []float64{-1, 1e-7, 101}},
	{"accumulation", func(c *engine.Config, v float64) { c.Accumulation = int(v) }, []float64{0, 1, 1 << 20}, []float64{-1, 1<<20 + 1}},
	{"caption_dropout", func(c *engine.Config, v float64) { c.CaptionDropout = v }, []float64{0, 1}, []float64{-0.1, 1.1}},
	{"text_tokens", func(c *engine.Config, v float64) { c.TextTokens = int(v) }, []float64{1, 300, 4096}, []float64{0, -1, 4097}},
	{"memory_budget", func(c *engine.Config, v float64) { c.MemoryBudget = int64(v) }, []float64{0, 1 << 62}, []float64{-1}},
}

// word is a name of a configuration.
type word struct {
	field    string
	set      func(c *engine.Config, value string)
	accepted []string
}

var words = []word{
	{"dtype", func(c *engine.Config, v string) { c.DType = v }, []string{"fp32", "bf16"}},
	{"weight_dtype", func(c *engine.Config, v string) { c.WeightDType = v }, []string{"fp32", "bf16"}},
	{"schedule.name", func(c *engine.Config, v string) { c.Schedule = engine.Schedule{Name: v, Steps: 100} },
		[]string{"", "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"}},
	{"loss.type", func(c *engine.Config, v string) { c.Loss.Type = v }, []string{"", "l2", "huber", "smooth_l1"}},
	{"loss.prediction", func(c *engine.Config, v string) { c.Loss.Prediction = v }, []string{"", "epsilon", "v_prediction", "sample", "flow"}},
	{"loss.huber_schedule", func(c *engine.Config, v string) { c.Loss.HuberSchedule = v }, []string{"", "constant", "exponential", "snr"}},
	{"noise.timesteps", func(c *engine.Config, v string) { c.Noise.Timesteps = v }, []string{"", "uniform", "sigmoid"}},
}

// A job that is accepted when it is posted must not be refused by the core when its turn comes, and the reverse: both know the
// same limits.
func TestJobsAndTheCoreAgreeOnLimits(t *testing.T) {
	core, err := Open()
	require.NoError(t, err)
	model := tinyModel(t, core)
	check := func(t *testing.T, field string, set func(*engine.Config), accepted bool, value any) {
		t.Helper()
		config := tinyConfig(model)
		set(&config)
		var problems []job.Problem
		for _, problem := range (&job.Job{Engine: config}).Validate() {
			if problem.Field == "engine."+field {
				problems = append(problems, problem)
			}
		}
		assert.Equal(t, accepted, len(problems) == 0, "the job, with %s = %v: %v", field, value, problems)
		_, err := core.Plan(context.Background(), config, []engine.Shape{{Width: 16, Height: 16, Batch: 1}})
		assert.Equal(t, accepted, err == nil, "the core, with %s = %v: %v", field, value, err)
	}
	for _, n := range numbers {
		for _, value := range n.accepted {
			check(t, n.field, func(c *engine.Config) { n.set(c, value) }, true, value)
		}
		for _, value := range n.refused {
			check(t, n.field, func(c *engine.Config) { n.set(c, value) }, false, value)
		}
	}
	for _, w := range words {
		for _, value := range w.accepted {
			check(t, w.field, func(c *engine.Config) { w.set(c, value) }, true, value)
		}
		check(t, w.field, func(c *engine.Config) { w.set(c, "other") }, false, "other")
	}
}
