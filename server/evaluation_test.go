package server

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions"
	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/engine/fake"
)

// evaluated is the form of a training of 12 steps with a dataset of type eval, whose loss is computed every 5.
func (a *api) evaluated(t *testing.T) options {
	t.Helper()
	form := a.fastPath(options{"validation_disable": "true", "eval_steps_interval": "5", "eval_dataset_pooling": "true", "num_eval_images": "3"})
	entry := map[string]any{"type": "local", "instance_data_dir": a.files.Datasets[0].Folder, "caption_strategy": "textfile", "resolution": 64,
		"resolution_type": "pixel"}
	var list []map[string]any
	for id, kind := range map[string]string{"pictures": "image", "held-out": "eval"} {
		one := map[string]any{"id": id, "dataset_type": kind}
		for name, value := range entry {
			one[name] = value
		}
		list = append(list, one)
	}
	data, err := json.Marshal(list)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(a.server.options.Configs.Dir(), "once.json"), data, 0o644))
	return form
}

func TestEvaluationsAreMetricsAndEvents(t *testing.T) {
	a := serve(t, Options{})
	id := a.start(a.evaluated(t))
	a.waitState(id, sessions.Completed)
	events := havingType(a.eventsSince("?since_index=0").Events, typeMetric)
	require.Len(t, events, 3)
	var steps []any
	for _, e := range events {
		steps = append(steps, e.data("global_step"))
		losses, _ := e.data("losses").([]any)
		require.Len(t, losses, 1)
		loss, _ := losses[0].(map[string]any)
		assert.Equal(t, []any{"held-out", 3.0}, []any{loss["dataset"], loss["pictures"]})
		assert.Equal(t, map[string]any{"loss/val/held-out": loss["loss"], "loss/val/pooled": e.data("pooled")}, e.data("metrics"))
		assert.Contains(t, e["message"], "Validation loss at step")
	}
	assert.Equal(t, []any{5.0, 10.0, 12.0}, steps)
	last, _ := events[2].data("metrics").(map[string]any)
	metrics := a.trainingStatus().Progress.Metrics
	assert.Equal(t, last["loss/val/held-out"], metrics["loss/val/held-out"])
	assert.Equal(t, last["loss/val/pooled"], metrics["loss/val/pooled"])
	stream := a.globalStream(t, "", 1+len(a.eventsSince("?since_index=0").Events))
	names := map[string]int{}
	for _, m := range stream {
		names[m.event]++
	}
	assert.Equal(t, 3, names["callback:metric"])
}

// faulty orders faults in every session.
type faulty struct {
	engine.Engine
	faults fake.Faults
}

func (f faulty) Open(ctx context.Context, config engine.Config, sink engine.Sink) (engine.Session, error) {
	f.faults.Order(&config)
	return f.Engine.Open(ctx, config, sink)
}

func TestASkippedEvaluationIsANotification(t *testing.T) {
	a := serveWith(t, Options{}, faulty{&fake.Engine{}, fake.Faults{EvalCode: engine.OutOfMemory}})
	id := a.start(a.evaluated(t))
	a.waitState(id, sessions.Completed)
	events := a.eventsSince("?since_index=0").Events
	assert.Empty(t, havingType(events, typeMetric))
	var skipped []happening
	for _, e := range havingType(events, typeNotification) {
		if e["title"] == "Evaluation skipped" {
			skipped = append(skipped, e)
		}
	}
	require.Len(t, skipped, 3)
	assert.Equal(t, []any{severityWarning, "skipped", "out_of_memory"}, []any{skipped[0]["severity"], skipped[0].data("status"), skipped[0].data("code")})
	assert.Contains(t, skipped[0]["message"], "training goes on")
}
