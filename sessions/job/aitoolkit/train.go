package aitoolkit

import (
	"strings"

	"github.com/stepd/stepd/sessions/engine"
	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

// emaOf is the average of the original, whose decay does not rise from zero.
func emaOf(decay float64) *engine.EMA { return &engine.EMA{Decay: decay, Constant: true} }

// network: its absence means a full fine-tune, as in the original.
func (t *translation) network(s *section, j *job.Job) {
	j.Engine.AccumulateSum = true // the original adds the gradients of micro-batches and does not divide
	if s.get("network") == nil {
		return
	}
	n := s.object("network")
	if kind := n.text("type", "lora"); kind != "lora" {
		t.refuse(n.at("type"), "%q is not supported; use lora, or leave network out for a full fine-tune", kind)
	}
	rank := n.integer("linear", 4, 1, 1<<16)
	rank = n.integer("rank", rank, 1, 1<<16)
	alpha := n.number("linear_alpha", float64(rank), 0, 1e6)
	alpha = n.number("alpha", alpha, 0, 1e6)
	if alpha != float64(rank) {
		t.warn("%s: transformers are trained with alpha = rank = %d in AI-Toolkit; %v has no effect", n.at("linear_alpha"), rank, alpha)
	}
	if n.integer("conv", 0, 0, 1<<16) > 0 {
		t.warn("%s: a transformer has no convolutions to adapt; it has no effect", n.at("conv"))
	}
	refuseUnsupported(n, map[string]any{"transformer_only": true, "network_kwargs.ignore_if_contains": nil, "network_kwargs.full_if_contains": nil,
		"network_kwargs.rank_dropout": 0.0, "network_kwargs.module_dropout": 0.0, "network_kwargs.parameter_threshold": 0.0},
		[]string{"conv_alpha", "lokr_full_rank", "lokr_factor", "old_lokr_format", "split_multistage_loras", "layer_offloading"})
	adapter := &engine.Adapter{Type: "lora", Rank: int(rank), Alpha: float64(rank), Dropout: n.number("dropout", 0, 0, 1)}
	adapter.Init = resolve(t.roots.Models, n.text("pretrained_lora_path", ""))
	for _, name := range n.list("network_kwargs.only_if_contains") {
		text, ok := name.(string)
		if !ok || strings.Trim(text, ".") == "" {
			t.refuse(n.at("network_kwargs.only_if_contains"), "%v is not the end of a module's name, as to_q or ff.net.0.proj", values.Show(name))
			continue
		}
		adapter.Targets = append(adapter.Targets, text)
	}
	if len(adapter.Targets) > 0 {
		t.warn("%s: names are compared with the ends of module names here", n.at("network_kwargs.only_if_contains"))
	}
	if n.flag("all_layers", false) {
		t.refuse(n.at("all_layers"), "is not supported; list module suffixes in network_kwargs.only_if_contains")
	}
	n.reportUnknown()
	j.Engine.Adapter = adapter
}

var optimizers = map[string]string{"adamw": "adamw", "adam": "adamw", "adamw_bf16": "adamw_bf16"}

func (t *translation) optimizer(s *section, j *job.Job) {
	written := s.text("train.optimizer", "adamw")
	name, ok := optimizers[strings.ToLower(written)]
	if !ok {
		t.refuse(s.at("train.optimizer"), "%q is not supported; use adamw, adam or adamw_bf16", written)
		return
	}
	j.Engine.Optimizer.Name = name
	params := s.object("train.optimizer_params")
	decay := 0.01
	if strings.EqualFold(written, "adam") {
		decay = 0
	}
	j.Engine.Optimizer.Params = map[string]float64{
		"weight_decay": params.number("weight_decay", decay, 0, 1e6),
		"eps":          params.number("eps", 1e-6, 0, 1),
		"beta1":        0.9,
		"beta2":        0.999,
	}
	if betas := params.list("betas"); len(betas) == 2 {
		for i, key := range []string{"beta1", "beta2"} {
			if beta, ok := values.Number(betas[i]); ok && beta >= 0 && beta < 1 {
				j.Engine.Optimizer.Params[key] = beta
			} else {
				t.refuse(params.at("betas"), "%v is outside 0 to 1", values.Show(betas[i]))
			}
		}
	} else if betas != nil {
		t.refuse(params.at("betas"), "%v is not a list of two numbers", values.Show(betas))
	}
	if strings.EqualFold(written, "adam") && j.Engine.Optimizer.Params["weight_decay"] != 0 {
		t.refuse(params.at("weight_decay"), "works differently in adam; use optimizer adamw, whose decay is decoupled from the gradient")
	}
	params.reportUnknown()
	t.schedule(s, j)
}

// schedules by name. The original's "linear" rises from a third to the whole learning rate, which nothing here does.
var schedules = map[string]string{
	"constant": "constant", "constant_with_warmup": "constant_with_warmup", "cosine": "cosine",
	"cosine_with_restarts": "cosine_with_restarts", "polynomial": "polynomial",
}

func (t *translation) schedule(s *section, j *job.Job) {
	written := s.text("train.lr_scheduler", "constant")
	name, ok := schedules[written]
	if !ok {
		t.refuse(s.at("train.lr_scheduler"), "%q is not supported; use constant, constant_with_warmup, cosine, cosine_with_restarts or polynomial (a linear decay with power 1)", written)
		return
	}
	params := s.object("train.lr_scheduler_params")
	warmup := int64(0)
	if name == "constant_with_warmup" {
		warmup = 1000
	}
	warmup = params.integer("num_warmup_steps", warmup, 0, 1<<40)
	warmup = params.integer("warmup_steps", warmup, 0, 1<<40)
	j.Engine.Schedule = engine.Schedule{
		Name: name, Warmup: warmup, Steps: params.integer("total_iters", j.Steps, 1, 1<<40),
		Cycles: params.number("num_cycles", 0, 0, 1e6), Power: params.number("power", 0, 0, 100), LREnd: params.number("lr_end", 0, 0, 1),
	}
	params.reportUnknown()
}

// objective translates what is predicted, how timesteps are drawn and how the error is measured.
func (t *translation) objective(s *section, j *job.Job) {
	switch scheduler := s.text("train.noise_scheduler", ""); scheduler {
	case "": // the model folder decides
	case "flowmatch":
		j.Engine.Loss.Prediction = "flow"
	case "ddpm":
		j.Engine.Loss.Prediction = "epsilon"
	default:
		t.refuse(s.at("train.noise_scheduler"), "%q is not supported; use flowmatch, ddpm, or leave it out so that the model folder decides", scheduler)
	}
	j.Engine.Noise.SampleLatents = true
	switch kind := s.text("train.timestep_type", "sigmoid"); kind {
	case "sigmoid": // what flow matching does by itself; discrete schedules draw evenly, as in the original
	case "linear":
		j.Engine.Noise.Timesteps = "uniform"
	default:
		t.refuse(s.at("train.timestep_type"), "%q is not supported; use sigmoid or linear", kind)
	}
	switch kind := s.text("train.loss_type", "mse"); kind {
	case "mse":
		j.Engine.Loss.Type = "l2"
	case "huber", "smooth_l1":
		j.Engine.Loss.Type = kind
	default:
		t.refuse(s.at("train.loss_type"), "%q is not supported; use mse, huber or smooth_l1", kind)
	}
	j.Engine.Loss.HuberC, j.Engine.Loss.HuberSchedule = 0.1, "constant"
	j.Engine.Loss.SNRGamma = s.number("train.snr_gamma", s.number("train.min_snr_gamma", 0, 0, 1e6), 0, 1e6)
	if steps := s.integer("train.gradient_accumulation_steps", 1, 1, 1<<20); steps > 1 {
		if j.Engine.Accumulation > 1 {
			t.refuse(s.at("train.gradient_accumulation_steps"), "cannot be combined with train.gradient_accumulation; keep that one")
		}
		j.Engine.Accumulation, j.Engine.AccumulateSum = int(steps), false
	}
}
