package job

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stepd/stepd/sessions/engine"
)

func valid() *Job {
	return &Job{
		Name: "run", Output: "/out",
		Engine: engine.Config{Model: "/model", DType: "bf16", WeightDType: "fp32", TextTokens: 120,
			Adapter: &engine.Adapter{Type: "lora", Rank: 16, Alpha: 16}, Optimizer: engine.Optimizer{Name: "adamw", LR: 1e-4}},
		Datasets:  []Dataset{{ID: "a", Folder: "/a", Resolution: 512, Repeats: 1}},
		BatchSize: 1, Steps: 100, Save: Save{DType: "bf16"},
		Sampling: Sampling{Prompts: []Prompt{{Text: "p", Width: 512, Height: 512, Steps: 20}}},
	}
}

func TestValidJobsHaveNoProblems(t *testing.T) {
	assert.Empty(t, valid().Validate())
	assert.NoError(t, valid().Check())
}

// withSecond adds a dataset.
func withSecond(j *Job, mixing string, d Dataset) {
	d.ID, d.Folder, d.Resolution, d.Repeats = "b", "/b", 512, 1
	j.Mixing, j.Datasets = mixing, append(j.Datasets, d)
}

func TestProblemsOfSchedules(t *testing.T) {
	checkProblems(t, []problemCase{
		{"mixing", func(j *Job) { withSecond(j, "", Dataset{StartStep: 2}) }},
		{"mixing", func(j *Job) { withSecond(j, "", Dataset{BatchSize: 2}) }},
		{"datasets[0].batch_size", func(j *Job) { j.Datasets[0].BatchSize = maxBatch + 1 }},
		{"datasets[0].start_epoch", func(j *Job) { j.Datasets[0].StartEpoch = -1 }},
		{"datasets[0].end_step", func(j *Job) { j.Datasets[0].EndStep = math.MaxInt64 }},
		{"datasets[1].end_step", func(j *Job) { withSecond(j, MixShare, Dataset{StartStep: 5, EndStep: 4}) }},
		{"datasets[1].end_epoch", func(j *Job) { withSecond(j, MixShare, Dataset{StartEpoch: 5, EndEpoch: 4}) }},
		{"datasets[0].start_step", func(j *Job) { j.Datasets[0].StartStep = 2 }},
		{"datasets[0].start_epoch", func(j *Job) {
			withSecond(j, MixShare, Dataset{StartStep: 2})
			j.Datasets[0].StartEpoch = 2
		}},
		{"datasets[0].end_step", func(j *Job) { j.Datasets[0].EndStep = 99 }},
		{"datasets[0].end_step", func(j *Job) { // steps 41 to 49 have no data
			withSecond(j, MixShare, Dataset{StartStep: 50})
			j.Datasets[0].EndStep = 40
		}},
	})
}

func TestProblemsOfCaptions(t *testing.T) {
	checkProblems(t, []problemCase{
		{"datasets[0].table", func(j *Job) { j.Datasets[0].Captions = CaptionsTable }},
		{"datasets[0].table.path", func(j *Job) { j.Datasets[0].Table = &Table{FilenameColumn: "id"} }},
		{"datasets[0].table.filename_column", func(j *Job) { j.Datasets[0].Table = &Table{Path: "/t"} }},
		{"datasets[0].table.caption_column", func(j *Job) {
			j.Datasets[0].Captions, j.Datasets[0].Table = CaptionsTable, &Table{Path: "/t", FilenameColumn: "id"}
		}},
		{"datasets[0].caption_shuffle.count", func(j *Job) { j.Datasets[0].Shuffle = &CaptionShuffle{SplitOn: SplitComma} }},
		{"datasets[0].caption_shuffle.split_on", func(j *Job) { j.Datasets[0].Shuffle = &CaptionShuffle{Count: 1} }},
		{"datasets[0].caption_shuffle.position_start", func(j *Job) {
			j.Datasets[0].Shuffle = &CaptionShuffle{Count: 1, SplitOn: SplitSpace, Keep: -1}
		}},
	})
}

func TestSchedulesOfDatasets(t *testing.T) {
	for _, change := range []func(j *Job){
		func(j *Job) { j.Datasets[0].StartStep, j.Datasets[0].StartEpoch, j.Datasets[0].EndStep = 1, 1, 100 },
		func(j *Job) { withSecond(j, "", Dataset{BatchSize: 1}) }, // that of the job
		func(j *Job) { withSecond(j, MixShare, Dataset{BatchSize: 2}) },
		func(j *Job) { j.Datasets[0].EndEpoch = 2 }, // whether the run has more epochs is known with the data
		func(j *Job) {
			withSecond(j, MixUniform, Dataset{StartStep: 41})
			j.Datasets[0].EndStep = 40
		},
		func(j *Job) { withSecond(j, MixShare, Dataset{StartEpoch: 3, StartStep: 10, EndStep: 200}) },
	} {
		j := valid()
		change(j)
		assert.Empty(t, j.Validate(), "%+v", j.Datasets)
	}
	j := valid()
	withSecond(j, MixShare, Dataset{StartStep: 50})
	j.Datasets[0].EndStep = 40
	assert.Equal(t, []Problem{{Field: "datasets[0].end_step", Message: "no dataset takes part in step 41 (a has end_step 40, b has start_step 50); " +
		"let one end later or start earlier, or train 40 steps"}}, j.Validate())
}

func TestProblems(t *testing.T) {
	tests := []problemCase{
		{"name", func(j *Job) { j.Name = "" }},
		{"name", func(j *Job) { j.Name = "../up" }},
		{"name", func(j *Job) { j.Name = ".." }},
		{"name", func(j *Job) { j.Name = "a\x00b" }},
		{"name", func(j *Job) { j.Name = "a\xffb" }},
		{"name", func(j *Job) { j.Name = strings.Repeat("a", 201) }},
		{"output", func(j *Job) { j.Output = "" }},
		{"steps", func(j *Job) { j.Steps = 0 }},
		{"steps", func(j *Job) { j.Steps = math.MaxInt64 }},
		{"batch_size", func(j *Job) { j.BatchSize = 0 }},
		{"log_every", func(j *Job) { j.LogEvery = -1 }},
		{"resume", func(j *Job) { j.Resume = "checkpoint-../x" }},
		{"resume", func(j *Job) { j.Resume = "somewhere" }},
		{"datasets", func(j *Job) { j.Datasets = nil }},
		{"datasets[1].id", func(j *Job) { j.Datasets = append(j.Datasets, j.Datasets[0]) }},
		{"datasets[0].folder", func(j *Job) { j.Datasets[0].Folder = "" }},
		{"datasets[0].repeats", func(j *Job) { j.Datasets[0].Repeats = 0 }},
		{"datasets[0].resolution", func(j *Job) { j.Datasets[0].Resolution = math.NaN() }},
		{"mixing", func(j *Job) { j.Mixing = "often" }},
		{"datasets[0].minimum_aspect", func(j *Job) { j.Datasets[0].MinimumAspect = 0.001 }},
		{"datasets[0].minimum_aspect", func(j *Job) { j.Datasets[0].MinimumAspect, j.Datasets[0].MaximumAspect = 2, 1 }},
		{"datasets[0].maximum_aspect", func(j *Job) { j.Datasets[0].MaximumAspect = math.Inf(1) }},
		{"datasets[0].crop_aspects", func(j *Job) { j.Datasets[0].CropAspect = AspectRandom }},
		{"datasets[0].crop_aspects", func(j *Job) {
			j.Datasets[0].CropAspect, j.Datasets[0].CropAspects = AspectRandom, []float64{math.NaN()}
		}},
		{"datasets[0].crop_aspects", func(j *Job) {
			j.Datasets[0].CropAspect, j.Datasets[0].CropAspects, j.Datasets[0].Square = AspectRandom, []float64{1}, true
		}},
		{"datasets[0].crop_aspect", func(j *Job) { j.Datasets[0].CropAspects = []float64{1} }},
		{"datasets[0].max_samples", func(j *Job) { j.Datasets[0].MaxSamples = -1 }},
		{"datasets[0].probability", func(j *Job) { j.Datasets[0].Probability = -1 }},
		{"datasets[0].caption_filters", func(j *Job) { j.Datasets[0].CaptionFilters = []string{"s/(/x/"} }},
		{"datasets[0].caption_filters", func(j *Job) { j.Datasets[0].CaptionFilters = []string{"s/a/b"} }},
		{"datasets[0].caption_filters", func(j *Job) { j.Datasets[0].CaptionFilters = []string{""} }},
		{"datasets[0].crop", func(j *Job) { j.Datasets[0].Crop = "left" }},
		{"engine.model", func(j *Job) { j.Engine.Model = "" }},
		{"engine.dtype", func(j *Job) { j.Engine.DType = "fp8" }},
		{"engine.optimizer.lr", func(j *Job) { j.Engine.Optimizer.LR = math.Inf(1) }},
		{"engine.optimizer.params.eps", func(j *Job) { j.Engine.Optimizer.Params = map[string]float64{"eps": math.NaN()} }},
		{"engine.adapter.rank", func(j *Job) { j.Engine.Adapter.Rank = 0 }},
		{"engine.caption_dropout", func(j *Job) { j.Engine.CaptionDropout = 1.5 }},
		{"engine.text_tokens", func(j *Job) { j.Engine.TextTokens = 0 }},
		{"save.every", func(j *Job) { j.Save.Every = -1 }},
		{"save.dtype", func(j *Job) { j.Save.DType = "int8" }},
		{"tracking.to", func(j *Job) { j.Tracking = &Tracking{To: []string{"paper"}} }},
		{"save.style", func(j *Job) { j.Save.Style = "other" }},
		{"sampling.prompts[0].width", func(j *Job) { j.Sampling.Prompts[0].Width = 513 }},
		{"sampling.prompts[0].steps", func(j *Job) { j.Sampling.Prompts[0].Steps = 0 }},
		{"sampling.prompts[0].name", func(j *Job) { j.Sampling.Prompts[0].Name = "a/b" }},
	}
	checkProblems(t, tests)
}

// problemCase is a change that makes a valid job invalid, and the field that is named then.
type problemCase struct {
	field  string
	change func(*Job)
}

func checkProblems(t *testing.T, tests []problemCase) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.field, func(t *testing.T) {
			j := valid()
			test.change(j)
			problems := j.Validate()
			require.Len(t, problems, 1)
			assert.Equal(t, test.field, problems[0].Field)
			assert.NotEmpty(t, problems[0].Message)
		})
	}
}

func TestProblemsOfIntervalsAndScripts(t *testing.T) {
	checkProblems(t, []problemCase{
		{"save.every_epochs", func(j *Job) { j.Save.EveryEpochs = -1 }},
		{"save.rolling", func(j *Job) { j.Save.Rolling = -1 }},
		{"save.keep_rolling", func(j *Job) { j.Save.KeepRolling = -1 }},
		{"sampling.every_epochs", func(j *Job) { j.Sampling.EveryEpochs = -1 }},
		{"sampling.weights", func(j *Job) { j.Sampling.Weights = "best" }},
		{"sampling.prompts[0].count", func(j *Job) { j.Sampling.Prompts[0].Count = 65 }},
		{"scripts.upload.command", func(j *Job) { j.Scripts = &Scripts{Upload: &Script{}} }},
		{"scripts.validation.timeout", func(j *Job) {
			j.Scripts = &Scripts{Validation: &Script{Command: []string{"true"}, Timeout: -1}}
		}},
		{"sampling.preview", func(j *Job) { j.Sampling.Preview = -1 }},
	})
}

func TestProblemsOfEvaluations(t *testing.T) {
	with := func(change func(e *Evaluation, d *Dataset)) func(*Job) {
		return func(j *Job) {
			d := j.Datasets[0]
			d.ID = "own"
			j.Evaluation = &Evaluation{Datasets: []Dataset{d}, Every: 5, Timesteps: 28, Pooled: true}
			change(j.Evaluation, &j.Evaluation.Datasets[0])
		}
	}
	checkProblems(t, []problemCase{
		{"evaluation.datasets", with(func(e *Evaluation, _ *Dataset) { e.Datasets = nil })},
		{"evaluation.datasets[0].folder", with(func(_ *Evaluation, d *Dataset) { d.Folder = "" })},
		{"evaluation.datasets[0].id", with(func(_ *Evaluation, d *Dataset) { d.ID = valid().Datasets[0].ID })},
		{"evaluation.datasets[0].id", with(func(_ *Evaluation, d *Dataset) { d.ID = PooledLoss })},
		{"evaluation.every", with(func(e *Evaluation, _ *Dataset) { e.Every = -1 })},
		{"evaluation.every_epochs", with(func(e *Evaluation, _ *Dataset) { e.EveryEpochs = math.NaN() })},
		{"evaluation.timesteps", with(func(e *Evaluation, _ *Dataset) { e.Timesteps = 0 })},
		{"evaluation.timesteps", with(func(e *Evaluation, _ *Dataset) { e.Timesteps = 1001 })},
		{"evaluation.pictures", with(func(e *Evaluation, _ *Dataset) { e.Pictures = -1 })},
	})
}

func TestAllProblemsComeAtOnce(t *testing.T) {
	err := (&Job{}).Check()
	var invalid *Invalid
	require.ErrorAs(t, err, &invalid)
	assert.Greater(t, len(invalid.Problems), 8)
	for _, problem := range invalid.Problems {
		assert.Contains(t, err.Error(), problem.String())
	}
}

func TestJSONRoundTrip(t *testing.T) {
	j := valid()
	limit := int64(-5)
	j.MaxSteps = &limit
	j.Metadata = map[string]string{"a": "b"}
	j.Warnings = []string{"w"}
	data, err := json.Marshal(j)
	require.NoError(t, err)
	again, err := Parse(data)
	require.NoError(t, err)
	assert.Equal(t, j, again)
	copied, err := j.Clone()
	require.NoError(t, err)
	copied.Datasets[0].Folder = "/other"
	assert.Equal(t, "/a", j.Datasets[0].Folder)
	_, err = Parse([]byte("{"))
	assert.Error(t, err)
}

func TestEnd(t *testing.T) {
	low, high, negative := int64(10), int64(1000), int64(-1)
	for _, test := range []struct {
		limit *int64
		want  int64
	}{{nil, 100}, {&low, 10}, {&high, 100}, {&negative, 0}} {
		j := valid()
		j.MaxSteps = test.limit
		assert.Equal(t, test.want, j.End())
	}
}

func TestCaptionFilters(t *testing.T) {
	for _, test := range []struct{ filter, caption, want string }{
		{"bad ", "a bad dog", "a dog"},
		{"s/d.g/cat/", "a dog, a dig", "a cat, a cat"},
		{"s/ +//", "a  b", "ab"},
		{"s/(a)/$1$1/", "a", "$1$1"},
	} {
		filter, err := ParseCaptionFilter(test.filter)
		require.NoError(t, err)
		assert.Equal(t, test.want, filter.Apply(test.caption), test.filter)
	}
}
