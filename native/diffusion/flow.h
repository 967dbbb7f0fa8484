// Flow matching on straight paths (rectified flow): x = (1 - sigma) x0 + sigma noise, target noise - x0.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>

namespace stepd {

// How a schedule of noise levels is shifted towards noise.
struct FlowShift {
    double shift = 1.0;    // sigma' = shift sigma / (1 + (shift - 1) sigma)
    bool dynamic = false;  // sigma' = e^mu / (e^mu + 1/sigma - 1) with mu linear in the number of image tokens
    double base_shift = 0.5, max_shift = 1.15;
    double base_tokens = 256, max_tokens = 4096;
    int64_t train_timesteps = 1000;

    // Reads a FlowMatchEulerDiscreteScheduler's config. Throws Code::unsupported naming a key whose value this core
    // lacks.
    static FlowShift from_json(const nlohmann::json& scheduler_config);

    double mu(int64_t image_tokens) const;
    double apply(double sigma, int64_t image_tokens) const;
};

// out = (1 - sigma) x0 + sigma noise
void flow_interpolate(float sigma, std::span<const float> x0, std::span<const float> noise, std::span<float> out);
// out = noise - x0
void flow_target(std::span<const float> x0, std::span<const float> noise, std::span<float> out);

}  // namespace stepd
