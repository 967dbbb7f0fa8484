// Variance-preserving noise schedules (DDPM): what diffusers computes from scheduler_config.json, in the same float32
// steps. Source of the formulas: Ho et al. 2020; zero terminal SNR: Lin et al. 2023, algorithm 1.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

namespace stepd {

// What a model predicts.
enum class Prediction { epsilon, v_prediction, sample, flow };

// "epsilon", "v_prediction", "sample", "flow"; throws Code::invalid naming the value.
Prediction parse_prediction(const std::string& name);
const char* name_of(Prediction prediction);
// From the folder's scheduler: flow for flow-matching classes, else its prediction_type.
Prediction scheduler_prediction(const nlohmann::json& scheduler_config);

struct NoiseScheduleOptions {
    int64_t train_timesteps = 1000;
    double beta_start = 1e-4, beta_end = 0.02;
    std::string beta_schedule = "linear";  // "linear", "scaled_linear"
    bool rescale_zero_snr = false;

    // Reads scheduler_config.json. Throws Code::unsupported naming a key whose value this core lacks.
    static NoiseScheduleOptions from_json(const nlohmann::json& scheduler_config);
};

class NoiseSchedule {
public:
    explicit NoiseSchedule(const NoiseScheduleOptions& options);

    int64_t train_timesteps() const { return int64_t(betas_.size()); }
    std::span<const float> betas() const { return betas_; }
    std::span<const float> alphas_cumprod() const { return alphas_cumprod_; }
    // Signal-to-noise ratio alpha_bar / (1 - alpha_bar) and its noise level sigma = sqrt((1 - alpha_bar) / alpha_bar).
    float snr(int64_t timestep) const;
    float sigma(int64_t timestep) const;

    // out = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise
    void add_noise(int64_t timestep, std::span<const float> x0, std::span<const float> noise,
                   std::span<float> out) const;
    // What a model of this kind should predict: noise, velocity sqrt(alpha_bar) noise - sqrt(1 - alpha_bar) x0, or x0.
    void target(Prediction prediction, int64_t timestep, std::span<const float> x0, std::span<const float> noise,
                std::span<float> out) const;

private:
    float alpha_bar(int64_t timestep) const;  // throws Code::invalid outside the schedule
    std::vector<float> betas_, alphas_cumprod_;
};

}  // namespace stepd
