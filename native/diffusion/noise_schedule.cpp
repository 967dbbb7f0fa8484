#include "diffusion/noise_schedule.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/config_reader.h"
#include "base/error.h"

namespace stepd {

namespace {

constexpr const char* kSchedulerFile = "scheduler/scheduler_config.json";

// torch.linspace in float32: from both ends towards the middle, with one rounding an element.
std::vector<float> linspace(float start, float end, int64_t steps) {
    std::vector<float> out(static_cast<size_t>(steps), start);
    if (steps == 1) return out;
    float step = (end - start) / float(steps - 1);
    for (int64_t i = 0; i < steps; ++i) {
        out[size_t(i)] = i < steps / 2 ? std::fma(step, float(i), start) : std::fma(-step, float(steps - 1 - i), end);
    }
    return out;
}

// Products are accumulated in double, as torch.cumprod does on the CPU.
std::vector<float> cumulative_product(const std::vector<float>& betas) {
    std::vector<float> out;
    double product = 1;
    for (float beta : betas) {
        product *= double(1.0f - beta);
        out.push_back(float(product));
    }
    return out;
}

// Lin et al. 2023, algorithm 1: shifts and scales sqrt(alpha_bar) so that it ends at zero and starts where it did.
void rescale_zero_snr(std::vector<float>& betas) {
    std::vector<float> root = cumulative_product(betas);
    for (float& v : root) v = std::sqrt(v);
    float first = root.front(), last = root.back();
    float factor = first / (first - last);
    float previous = 1;
    for (size_t i = 0; i < root.size(); ++i) {
        float r = (root[i] - last) * factor;
        float alpha_bar = r * r;
        betas[i] = 1.0f - (i == 0 ? alpha_bar : alpha_bar / previous);
        previous = alpha_bar;
    }
}

}  // namespace

Prediction parse_prediction(const std::string& name) {
    if (name == "epsilon") return Prediction::epsilon;
    if (name == "v_prediction") return Prediction::v_prediction;
    if (name == "sample") return Prediction::sample;
    if (name == "flow") return Prediction::flow;
    STEPD_THROW(Code::invalid, "prediction \"", name, "\" is unknown; there is: epsilon, v_prediction, sample, flow");
}

const char* name_of(Prediction prediction) {
    switch (prediction) {
        case Prediction::epsilon:
            return "epsilon";
        case Prediction::v_prediction:
            return "v_prediction";
        case Prediction::sample:
            return "sample";
        case Prediction::flow:
            return "flow";
    }
    STEPD_THROW(Code::internal, "prediction ", int(prediction));
}

Prediction scheduler_prediction(const nlohmann::json& scheduler_config) {
    ConfigReader config(kSchedulerFile, scheduler_config);
    if (config.text("_class_name", "").starts_with("FlowMatch") || config.flag("use_flow_sigmas", false)) {
        return Prediction::flow;
    }
    return parse_prediction(config.text("prediction_type", "epsilon"));
}

NoiseScheduleOptions NoiseScheduleOptions::from_json(const nlohmann::json& scheduler_config) {
    ConfigReader config(kSchedulerFile, scheduler_config);
    STEPD_REQUIRE(!config.has("trained_betas"), Code::unsupported, kSchedulerFile,
                  ": trained_betas is not supported, give beta_schedule instead");
    NoiseScheduleOptions o;
    o.train_timesteps = config.size("num_train_timesteps", o.train_timesteps);
    o.beta_start = config.number("beta_start", o.beta_start);
    o.beta_end = config.number("beta_end", o.beta_end);
    o.beta_schedule = config.text("beta_schedule", o.beta_schedule);
    o.rescale_zero_snr = config.flag("rescale_betas_zero_snr", o.rescale_zero_snr);
    return o;
}

NoiseSchedule::NoiseSchedule(const NoiseScheduleOptions& o) {
    STEPD_REQUIRE(o.train_timesteps >= 2, Code::invalid, "num_train_timesteps = ", o.train_timesteps,
                  " must be at least 2");
    STEPD_REQUIRE(0 < o.beta_start && o.beta_start <= o.beta_end && o.beta_end < 1, Code::invalid,
                  "beta_start = ", o.beta_start, " and beta_end = ", o.beta_end,
                  " must satisfy 0 < beta_start <= beta_end < 1");
    if (o.beta_schedule == "linear") {
        betas_ = linspace(float(o.beta_start), float(o.beta_end), o.train_timesteps);
    } else if (o.beta_schedule == "scaled_linear") {
        betas_ = linspace(float(std::sqrt(o.beta_start)), float(std::sqrt(o.beta_end)), o.train_timesteps);
        for (float& beta : betas_) beta *= beta;
    } else {
        STEPD_THROW(Code::unsupported, "beta_schedule = ", o.beta_schedule,
                    " is not supported, only linear and scaled_linear");
    }
    if (o.rescale_zero_snr) rescale_zero_snr(betas_);
    alphas_cumprod_ = cumulative_product(betas_);
}

float NoiseSchedule::alpha_bar(int64_t timestep) const {
    STEPD_REQUIRE(timestep >= 0 && timestep < train_timesteps(), Code::invalid, "timestep ", timestep,
                  " is outside the schedule of ", train_timesteps(), " steps");
    return alphas_cumprod_[size_t(timestep)];
}

float NoiseSchedule::snr(int64_t timestep) const { return alpha_bar(timestep) / (1.0f - alpha_bar(timestep)); }

float NoiseSchedule::sigma(int64_t timestep) const {
    return std::sqrt((1.0f - alpha_bar(timestep)) / alpha_bar(timestep));
}

void NoiseSchedule::add_noise(int64_t timestep, std::span<const float> x0, std::span<const float> noise,
                              std::span<float> out) const {
    float signal = std::sqrt(alpha_bar(timestep)), level = std::sqrt(1.0f - alpha_bar(timestep));
    for (size_t i = 0; i < out.size(); ++i) out[i] = signal * x0[i] + level * noise[i];
}

void NoiseSchedule::target(Prediction prediction, int64_t timestep, std::span<const float> x0,
                           std::span<const float> noise, std::span<float> out) const {
    float signal = std::sqrt(alpha_bar(timestep)), level = std::sqrt(1.0f - alpha_bar(timestep));
    for (size_t i = 0; i < out.size(); ++i) {
        switch (prediction) {
            case Prediction::epsilon:
                out[i] = noise[i];
                break;
            case Prediction::v_prediction:
                out[i] = signal * noise[i] - level * x0[i];
                break;
            case Prediction::sample:
                out[i] = x0[i];
                break;
            case Prediction::flow:
                STEPD_THROW(Code::invalid,
                            "prediction flow has no target on a DDPM schedule; use a flow-matching scheduler");
        }
    }
}

}  // namespace stepd
