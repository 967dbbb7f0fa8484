package job

import "fmt"

// PooledLoss names the mean over the pictures of all datasets beside the losses of single ones.
const PooledLoss = "pooled"

// Evaluation computes the loss of pictures that are not trained on, at fixed noise levels and with fixed noise, so that
// successive figures can be compared. When any interval is set, the last step is evaluated as well.
type Evaluation struct {
	// Datasets are evaluated one by one. Each picture counts once: without repeats, mirrored copies and further captions.
	Datasets []Dataset `json:"datasets"`
	// Every is the number of steps between evaluations; 0: none.
	Every int64 `json:"every,omitempty"`
	// EveryEpochs is the number of passes over the training data, or the part of one, between evaluations; 0: none. It adds
	// to Every.
	EveryEpochs float64 `json:"every_epochs,omitempty"`
	// Timesteps is the number of noise levels, spread evenly over the schedule.
	Timesteps int `json:"timesteps"`
	// Pictures is the largest number used of each dataset, drawn evenly; 0: all.
	Pictures int `json:"pictures,omitempty"`
	// Pooled also reports the mean over the pictures of all datasets, under the name PooledLoss.
	Pooled bool `json:"pooled,omitempty"`
}

// maxTimesteps is the length of the noise schedules that models are trained with.
const maxTimesteps = 1000

func (v *validator) evaluation(e *Evaluation, trained []Dataset) {
	if e == nil {
		return
	}
	const at = "evaluation."
	v.require(len(e.Datasets) > 0, at+"datasets", "is empty; name at least one folder of pictures")
	seen := map[string]bool{}
	for _, d := range trained {
		seen[d.ID] = true
	}
	v.datasets(at, e.Datasets, seen)
	v.require(e.Every >= 0, at+"every", "%d is negative; 0 switches it off", e.Every)
	v.between(at+"every_epochs", e.EveryEpochs, 0, 1<<20)
	v.require(e.Timesteps >= 1 && e.Timesteps <= maxTimesteps, at+"timesteps", "%d is outside 1 to %d", e.Timesteps, maxTimesteps)
	v.require(e.Pictures >= 0, at+"pictures", "%d is negative; 0 uses all", e.Pictures)
	for i, d := range e.Datasets {
		v.require(!e.Pooled || d.ID != PooledLoss, fmt.Sprintf("%sdatasets[%d].id", at, i), "%q names the mean of all datasets; choose another name", d.ID)
	}
}
