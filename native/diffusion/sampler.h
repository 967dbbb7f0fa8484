// Samplers: from noise to latents, step for step what diffusers' schedulers compute in float32. The caller runs the
// model between steps. A sampler is one file here and one line in samplers.inc.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "diffusion/flow.h"
#include "diffusion/noise_schedule.h"

namespace stepd {

struct SamplerOptions {
    int steps = 20;
    Prediction prediction = Prediction::epsilon;
    int64_t image_tokens = 0;  // (latent_height / patch) * (latent_width / patch); for dynamic shifting only

    NoiseScheduleOptions noise;
    std::string spacing;     // "linspace", "leading", "trailing"; empty: the sampler's default
    int64_t offset = 0;      // added to the timesteps of "leading"
    bool final_zero = true;  // last noise level 0; false: the smallest of the schedule
    bool lower_order_final = true, euler_at_final = false;  // dpmpp_2m
    bool clip_sample = false;  // ddim: clamp the predicted x0; latents are not bounded, so off unless asked for
    double clip_range = 1.0;
    bool alpha_to_one = true;  // ddim: the step after the last has alpha_bar 1
    FlowShift flow;
    bool sigmas_by_count = true;  // flow_euler: diffusers' own schedule for a number of steps; false: linspace(1, 1/n)

    // From scheduler_config.json, whatever class wrote it: keys that are absent keep the defaults above.
    // Throws Code::unsupported naming a key whose value this core lacks (Karras sigmas, other solvers, ..).
    static SamplerOptions from_json(const nlohmann::json& scheduler_config);
};

class Sampler {
public:
    virtual ~Sampler() = default;
    // What the model gets as its timestep at each step; the size is the number of model calls.
    const std::vector<float>& timesteps() const { return timesteps_; }
    // Noise levels; one more than timesteps. Empty for samplers that use none.
    const std::vector<float>& sigmas() const { return sigmas_; }
    // The first latents are N(0, 1) times this.
    virtual float initial_scale() const { return 1.0f; }
    // What the model gets as latents at step `index`.
    virtual void scale_input(int index, std::span<const float> latents, std::span<float> out) const;
    // The clean latents that a prediction at step `index` stands for; latents: those before that step.
    virtual void estimate_clean(int index, std::span<const float> prediction, std::span<const float> latents,
                                std::span<float> out) const = 0;
    // Moves the latents from step `index` to the next, in place. Steps are taken in order from 0.
    virtual void step(int index, std::span<const float> prediction, std::span<float> latents) = 0;

protected:
    std::vector<float> timesteps_, sigmas_;
};

// "dpmpp_2m", "ddim", "euler", "flow_euler". Throws Code::unsupported listing what there is, and Code::invalid where
// the sampler cannot work with the model's kind of prediction.
std::unique_ptr<Sampler> make_sampler(const std::string& name, const SamplerOptions& options);
// The sampler of the folder's scheduler class. Throws Code::unsupported naming the class and what to ask for instead.
std::string default_sampler(const nlohmann::json& scheduler_config);
std::vector<std::string> sampler_names();

}  // namespace stepd
