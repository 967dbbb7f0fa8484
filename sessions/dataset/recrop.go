package dataset

import "github.com/stepd/stepd/sessions/job"

// takesPart tells whether a dataset takes part in an epoch.
func (p *Plan) takesPart(dataset int, epoch int64) bool {
	if dataset >= len(p.groups) {
		return true // all are shuffled together
	}
	g := &p.groups[dataset]
	return epoch >= g.firstEpoch && epoch < g.endEpoch && g.firstBatch < p.epochs.Start(epoch+1) && g.endBatch > p.epochs.Start(epoch)
}

// NewCrops returns the samples with the random crops of an epoch, from 0, in the datasets that want new ones in every
// epoch and take part in this one (rule 5 of the determinism contract). Crops of epoch 0 are those of the manifest. Buckets
// stay. The plan is that of the job.
func NewCrops(j *job.Job, plan *Plan, samples []Sample, epoch int64) []Sample {
	datasets := map[string]*job.Dataset{}
	for i := range j.Datasets {
		if d := &j.Datasets[i]; d.NewCrops && d.Crop == cropRandom && plan.takesPart(i, epoch) {
			datasets[d.ID] = d
		}
	}
	cropped := append([]Sample(nil), samples...)
	for i := range cropped {
		s := &cropped[i]
		d := datasets[s.Dataset]
		if d == nil {
			continue
		}
		random := augmentationGenerator(j.Engine.Seed, epoch, s.Number)
		if len(d.CropAspects) > 0 && d.CropAspect == job.AspectRandom && !s.FlipX && !s.FlipY {
			random.below(len(d.CropAspects)) // what chose the bucket
		}
		(&geometry{dataset: d}).crop(&s.Placement, func() *generator { return random })
	}
	return cropped
}
