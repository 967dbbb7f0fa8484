package simpletuner

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/job"
)

func TestCheckValues(t *testing.T) {
	require.NoError(t, CheckValues(nil))
	require.NoError(t, CheckValues(Options{"seed": "7", "--learning_rate": "1e-4", "unknown": []any{}, "use_ema": "on", "lr_scheduler": "cosine"}),
		"incomplete is no reason")
	err := CheckValues(Options{"seed": "many", "--learning_rate": true, "lr_scheduler": "nothing", "train_batch_size": 1})
	var invalid *job.Invalid
	require.ErrorAs(t, err, &invalid)
	var fields []string
	for _, problem := range invalid.Problems {
		fields = append(fields, problem.Field)
	}
	require.Equal(t, []string{"--learning_rate", "--lr_scheduler", "--seed"}, fields)
}
