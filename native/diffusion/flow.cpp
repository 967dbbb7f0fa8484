#include "diffusion/flow.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/config_reader.h"
#include "base/error.h"

namespace stepd {

FlowShift FlowShift::from_json(const nlohmann::json& scheduler_config) {
    ConfigReader config("scheduler/scheduler_config.json", scheduler_config);
    for (const char* key :
         {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "invert_sigmas", "stochastic_sampling"}) {
        config.only(key, false);
    }
    config.only("time_shift_type", "exponential");
    STEPD_REQUIRE(config.number("shift_terminal", 0) == 0, Code::unsupported,
                  "scheduler/scheduler_config.json: shift_terminal is not supported, remove it");
    FlowShift f;
    f.shift = config.number("shift", f.shift);
    STEPD_REQUIRE(f.shift > 0, Code::invalid, "scheduler/scheduler_config.json: shift = ", f.shift,
                  " must be positive");
    f.dynamic = config.flag("use_dynamic_shifting", f.dynamic);
    f.base_shift = config.number("base_shift", f.base_shift);
    f.max_shift = config.number("max_shift", f.max_shift);
    f.base_tokens = config.number("base_image_seq_len", f.base_tokens);
    f.max_tokens = config.number("max_image_seq_len", f.max_tokens);
    STEPD_REQUIRE(f.base_tokens < f.max_tokens, Code::invalid,
                  "scheduler/scheduler_config.json: base_image_seq_len must be less than max_image_seq_len");
    f.train_timesteps = config.size("num_train_timesteps", f.train_timesteps);
    return f;
}

double FlowShift::mu(int64_t image_tokens) const {
    double slope = (max_shift - base_shift) / (max_tokens - base_tokens);
    return double(image_tokens) * slope + (base_shift - slope * base_tokens);
}

double FlowShift::apply(double sigma, int64_t image_tokens) const {
    if (!dynamic) return shift * sigma / (1 + (shift - 1) * sigma);
    double e = std::exp(mu(image_tokens));
    return e / (e + (1 / sigma - 1));
}

void flow_interpolate(float sigma, std::span<const float> x0, std::span<const float> noise, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = (1.0f - sigma) * x0[i] + sigma * noise[i];
}

void flow_target(std::span<const float> x0, std::span<const float> noise, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = noise[i] - x0[i];
}

}  // namespace stepd
