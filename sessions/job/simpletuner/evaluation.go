package simpletuner

import (
	"github.com/stepd/stepd/sessions/job"
)

// trainingFields say how often and when a dataset is trained on.
var trainingFields = []string{"repeats", "probability", "start_epoch", "end_epoch", "start_step", "end_step", "train_batch_size", "vae_cache_clear_each_epoch"}

// forgetTraining drops the fields of an eval dataset that are about training.
func (e *entry) forgetTraining() {
	for _, name := range trainingFields {
		if value, set := e.values[name]; set && fields[name].changes(value) {
			e.t.warn("%s means nothing in an entry of type eval, which is not trained on; it has no effect", e.field(name))
		}
		delete(e.values, name)
	}
}

// evaluation says when and on what losses of eval datasets are computed.
func (t *translation) evaluation() {
	every, epochs := t.integer("eval_steps_interval"), t.number("eval_epoch_interval")
	wanted := every > 0 || epochs > 0
	datasets := t.evaluatedDatasets()
	switch {
	case t.flag("eval_loss_disable"):
		if wanted && len(datasets) > 0 {
			t.notice("%s: the losses of eval datasets are not computed", option("eval_loss_disable"))
		}
		return
	case len(t.evaluated) == 0:
		if wanted {
			t.warn("%s has no effect: the dataloader has no entry of dataset_type eval; add one with pictures that are not trained on", t.evaluationInterval())
		}
		return
	case !wanted:
		for _, d := range datasets {
			t.warn("dataset %s: its loss is computed only with eval_steps_interval or eval_epoch_interval; set one of them", d.ID)
		}
		return
	}
	for _, d := range datasets {
		for _, trained := range t.job.Datasets {
			if d.Folder != "" && d.Folder == trained.Folder {
				t.warn("dataset %s has the pictures of dataset %s, which are trained on; its loss does not tell how the model does on others", d.ID, trained.ID)
			}
		}
	}
	t.job.Evaluation = &job.Evaluation{Datasets: datasets, Every: every, EveryEpochs: epochs, Timesteps: int(t.integer("eval_timesteps")),
		Pictures: int(t.integer("num_eval_images")), Pooled: t.flag("eval_dataset_pooling")}
}

// evaluationInterval is the option that asks for evaluations.
func (t *translation) evaluationInterval() string {
	if t.integer("eval_steps_interval") > 0 {
		return option("eval_steps_interval")
	}
	return option("eval_epoch_interval")
}

// evaluatedDatasets are all eval datasets, or the one that is chosen.
func (t *translation) evaluatedDatasets() []job.Dataset {
	const name = "eval_dataset_id"
	id := t.text(name)
	if id == "" {
		return t.evaluated
	}
	for _, d := range t.evaluated {
		if d.ID == id {
			return []job.Dataset{d}
		}
	}
	t.refuse(option(name), "%q is not the id of an entry of dataset_type eval; name one, or leave it out to evaluate all", id)
	return nil
}
