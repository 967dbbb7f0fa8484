package job

import (
	"fmt"
	"strings"
)

// scheduled tells whether the dataset takes part in some epochs or steps only.
func (d *Dataset) scheduled() bool {
	return d.StartEpoch > 1 || d.EndEpoch > 0 || d.StartStep > 1 || d.EndStep > 0
}

// Scheduled tells whether a dataset of the job takes part in some epochs or steps only.
func (j *Job) Scheduled() bool {
	for i := range j.Datasets {
		if j.Datasets[i].scheduled() {
			return true
		}
	}
	return false
}

// Separate tells whether datasets cannot be shuffled together: some come or leave, or have a batch size of their own.
func (j *Job) Separate() bool {
	differs := func(d *Dataset) bool { return j.BatchSizeOf(d) != j.BatchSizeOf(&j.Datasets[0]) }
	return len(j.Datasets) > 1 && (j.Scheduled() || j.any(differs))
}

// BatchSizeOf is the number of samples of one micro-batch of a dataset to train on.
func (j *Job) BatchSizeOf(d *Dataset) int {
	if d.BatchSize > 0 {
		return d.BatchSize
	}
	return j.BatchSize
}

// absent names the field that keeps the dataset out of a step in an epoch, both from 1, and its value; "" if none does.
// Ends come first, because a later end mends more than an earlier start of another dataset.
func (d *Dataset) absent(epoch, step int64) (field string, value int64) {
	switch {
	case d.EndStep > 0 && step > d.EndStep:
		return "end_step", d.EndStep
	case d.EndEpoch > 0 && epoch > d.EndEpoch:
		return "end_epoch", d.EndEpoch
	case step < d.StartStep:
		return "start_step", d.StartStep
	case epoch > 0 && epoch < d.StartEpoch:
		return "start_epoch", d.StartEpoch
	}
	return "", 0
}

// NoData is the problem of a step in an epoch, both from 1, that no dataset takes part in; epoch 0 is any. Its field is
// that of the dataset that has ended last, or else of the first one.
func (j *Job) NoData(epoch, step int64) Problem {
	const most = 5 // datasets that are named
	var reasons []string
	field, latest := "datasets", int64(-1)
	for i := range j.Datasets {
		d := &j.Datasets[i]
		name, value := d.absent(epoch, step)
		if name == "" {
			continue
		}
		if i < most {
			reasons = append(reasons, fmt.Sprintf("%s has %s %d", d.ID, name, value))
		}
		rank := int64(0)
		if strings.HasPrefix(name, "end") {
			rank = value
		}
		if rank > latest {
			field, latest = fmt.Sprintf("datasets[%d].%s", i, name), rank
		}
	}
	at, remedy := fmt.Sprintf("step %d", step), "let one take part from the first step of the first epoch on"
	if epoch > 0 {
		at += fmt.Sprintf(", in epoch %d", epoch)
	}
	if step > 1 {
		remedy = fmt.Sprintf("let one end later or start earlier, or train %d steps", step-1)
	}
	return Problem{Field: field, Message: fmt.Sprintf("no dataset takes part in %s (%s); %s", at, strings.Join(reasons, ", "), remedy)}
}

// scheduling checks when datasets take part: what can be known without the length of an epoch.
func (v *validator) scheduling(j *Job) {
	before := len(v.problems)
	for i := range j.Datasets {
		d, at := &j.Datasets[i], fmt.Sprintf("datasets[%d].", i)
		for name, value := range map[string]int64{"start_epoch": d.StartEpoch, "end_epoch": d.EndEpoch, "start_step": d.StartStep, "end_step": d.EndStep} {
			v.require(value >= 0 && value <= maxSteps, at+name, "%d is outside 0 to %d", value, maxSteps)
		}
		v.require(d.EndEpoch == 0 || d.EndEpoch >= d.StartEpoch, at+"end_epoch", "%d is before start_epoch %d", d.EndEpoch, d.StartEpoch)
		v.require(d.EndStep == 0 || d.EndStep >= d.StartStep, at+"end_step", "%d is before start_step %d", d.EndStep, d.StartStep)
	}
	v.require(j.Mixing != "" || !j.Separate(), "mixing",
		"is empty; datasets that come or leave, or have batch sizes of their own, cannot be shuffled together: %q or %q", MixShare, MixUniform)
	if len(v.problems) > before || len(j.Datasets) == 0 {
		return
	}
	if !j.any(func(d *Dataset) bool { name, _ := d.absent(1, 1); return name == "" }) {
		v.problems = append(v.problems, j.NoData(1, 1))
		return
	}
	for i := range j.Datasets {
		next := j.Datasets[i].EndStep + 1
		within := func(d *Dataset) bool { return next >= d.StartStep && (d.EndStep == 0 || next <= d.EndStep) }
		if next > 1 && next <= j.End() && !j.any(within) {
			v.problems = append(v.problems, j.NoData(0, next))
			return
		}
	}
}

func (j *Job) any(is func(d *Dataset) bool) bool {
	for i := range j.Datasets {
		if is(&j.Datasets[i]) {
			return true
		}
	}
	return false
}
