package simpletuner

import (
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// shuffleFields are what the object caption_shuffle may say.
var shuffleFields = map[string]Row{
	"enable":           {Kind: job.Bool, Default: false},
	"count":            {Kind: job.Int, Default: int64(1), Min: 1, Max: 1000},
	"seed":             {Kind: job.Int, Min: 0, Max: 1 << 53},
	"split_on":         {Kind: job.Text, Default: job.SplitComma, Choices: []string{job.SplitComma, job.SplitSpace, job.SplitPeriod}},
	"position_start":   {Kind: job.Int, Default: int64(0), Min: 0, Max: 1 << 20},
	"include_original": {Kind: job.Bool, Default: true},
}

// shuffle translates the object caption_shuffle; without a seed of its own, that of the job counts.
func (e *entry) shuffle(d *job.Dataset) {
	value := e.values["caption_shuffle"]
	if value == nil {
		return
	}
	object, ok := value.(map[string]any)
	if !ok {
		e.t.refuse(e.field("caption_shuffle"), "%s is not an object", values.Show(value))
		return
	}
	read := e.object("caption_shuffle", object, shuffleFields)
	if on, _ := read["enable"].(bool); !on {
		if len(object) > 0 && object["enable"] == nil {
			e.t.notice("%s has no effect without enable", e.field("caption_shuffle"))
		}
		return
	}
	d.Shuffle = &job.CaptionShuffle{Seed: e.t.job.Engine.Seed}
	if seed, ok := read["seed"].(int64); ok {
		d.Shuffle.Seed = uint64(seed)
	}
	count, _ := read["count"].(int64)
	keep, _ := read["position_start"].(int64)
	d.Shuffle.Count, d.Shuffle.Keep = int(count), int(keep)
	d.Shuffle.SplitOn, _ = read["split_on"].(string)
	d.Shuffle.WithOriginal, _ = read["include_original"].(bool)
	if d.Shuffle.SplitOn == "" {
		d.Shuffle.SplitOn = job.SplitComma
	}
}
