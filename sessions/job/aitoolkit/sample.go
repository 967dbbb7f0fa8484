package aitoolkit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stepd/stepd/sessions/job"
	"github.com/stepd/stepd/sessions/job/internal/values"
)

var samplers = map[string]string{"flowmatch": "flow_euler", "ddim": "ddim", "euler": "euler", "dpm++": "dpmpp_2m", "dpmsolver++": "dpmpp_2m", "ddpm": ""}

// samples translates the validation pictures: a list of prompts with inline flags, or a list of objects.
func (t *translation) samples(s *section, j *job.Job, trigger string) {
	section := s.object("sample")
	section.use("sample_every") // in the table of options
	base := t.sampleDefaults(section)
	walk := section.flag("walk_seed", false)
	if format := section.text("format", section.text("ext", "png")); format != "png" {
		t.warn("%s: pictures are written as PNG, not %s", section.at("format"), format)
	}
	if start := section.integer("sample_start_step", 0, 0, 1<<40); start > 0 {
		t.warn("%s: sampling starts with the first interval", section.at("sample_start_step"))
	}
	prompts := t.samplePrompts(section, base, trigger)
	for i := range prompts {
		if walk {
			prompts[i].Seed += uint64(i)
		}
	}
	refuseUnsupported(section, map[string]any{"network_multiplier": 1.0, "guidance_rescale": 0.0, "num_frames": 1.0, "do_cfg_norm": false}, []string{"fps", "adapter_conditioning_scale", "refiner_start_at"})
	section.reportUnknown()
	skip := s.flag("train.skip_first_sample", false)
	force := s.flag("train.force_first_sample", false)
	if s.flag("train.disable_sampling", false) {
		prompts = nil
	}
	j.Sampling.Prompts = prompts
	j.Sampling.First, j.Sampling.Last = len(prompts) > 0 && (force || !skip), len(prompts) > 0
}

func (t *translation) sampleDefaults(s *section) job.Prompt {
	written := s.text("sampler", "ddpm")
	sampler, ok := samplers[written]
	if !ok {
		t.refuse(s.at("sampler"), "%q is not supported; use flowmatch, ddim, euler, dpm++, or leave it out so that the model folder decides", written)
	}
	negative := ""
	if text, ok := s.get("neg").(string); ok {
		negative = text
	}
	return job.Prompt{
		Negative: negative, Sampler: sampler,
		Width: roundSize(s.integer("width", 512, 64, 16384)), Height: roundSize(s.integer("height", 512, 64, 16384)),
		Seed: uint64(s.integer("seed", 0, 0, 1<<53)), Guidance: s.number("guidance_scale", 7, 0, 1000),
		Steps: int(s.integer("sample_steps", 20, 1, 10000)),
	}
}

// roundSize rounds down to what the patches of every supported family divide, to at least 64. The original rounds to 8 and
// then fails in families with larger patches.
func roundSize(n int64) int { return max(int(n)/16*16, 64) }

func (t *translation) samplePrompts(s *section, base job.Prompt, trigger string) []job.Prompt {
	var prompts []job.Prompt
	for i, entry := range s.list("prompts") {
		text, ok := entry.(string)
		if !ok {
			t.refuse(s.at(fmt.Sprintf("prompts[%d]", i)), "%v is not a string", values.Show(entry))
			continue
		}
		prompt, err := inlineFlags(text, base)
		if err != nil {
			t.refuse(s.at(fmt.Sprintf("prompts[%d]", i)), "%v", err)
		}
		prompts = append(prompts, prompt)
	}
	for i, entry := range s.list("samples") {
		object, ok := entry.(map[string]any)
		if !ok {
			t.refuse(s.at(fmt.Sprintf("samples[%d]", i)), "is not an object")
			continue
		}
		prompts = append(prompts, t.sampleObject(newSection(t, s.at(fmt.Sprintf("samples[%d]", i)), object), base))
	}
	for i := range prompts {
		prompts[i].Text = strings.ReplaceAll(prompts[i].Text, "[trigger]", trigger)
	}
	return prompts
}

func (t *translation) sampleObject(s *section, base job.Prompt) job.Prompt {
	p := base
	p.Text = s.text("prompt", "")
	p.Negative = s.text("neg", base.Negative)
	p.Width = roundSize(s.integer("width", int64(base.Width), 64, 16384))
	p.Height = roundSize(s.integer("height", int64(base.Height), 64, 16384))
	p.Seed = uint64(s.integer("seed", int64(base.Seed), 0, 1<<53))
	p.Guidance = s.number("guidance_scale", base.Guidance, 0, 1000)
	p.Steps = int(s.integer("sample_steps", int64(base.Steps), 1, 10000))
	refuseUnsupported(s, map[string]any{"ctrl_img": nil, "ctrl_img_1": nil, "ctrl_img_2": nil, "ctrl_img_3": nil, "network_multiplier": 1.0, "num_frames": 1.0, "do_cfg_norm": false}, []string{"fps", "ctrl_idx"})
	s.reportUnknown()
	return p
}

// inlineFlags reads "a prompt --n negative --w 512 --h 768 --seed 7 --cfg 3.5 --steps 20".
func inlineFlags(text string, p job.Prompt) (job.Prompt, error) {
	parts := strings.Split(text, "--")
	p.Text = strings.TrimSpace(parts[0])
	for _, part := range parts[1:] {
		flag, value, _ := strings.Cut(strings.TrimSpace(part), " ")
		value = strings.TrimSpace(value)
		if err := setFlag(&p, flag, value); err != nil {
			return p, fmt.Errorf("flag --%s: %w", flag, err)
		}
	}
	return p, nil
}

func setFlag(p *job.Prompt, flag, value string) error {
	number, err := strconv.ParseFloat(value, 64)
	if flag == "n" {
		p.Negative = value
		return nil
	}
	if err != nil || number < 0 || number > 1<<53 {
		return fmt.Errorf("%q is not a number that fits", value)
	}
	switch flag {
	case "w":
		p.Width = roundSize(int64(number))
	case "h":
		p.Height = roundSize(int64(number))
	case "d", "seed":
		p.Seed = uint64(number)
	case "l", "cfg":
		p.Guidance = number
	case "s", "steps":
		p.Steps = int(number)
	default:
		return fmt.Errorf("is not supported; use n, w, h, seed, cfg or steps")
	}
	return nil
}
