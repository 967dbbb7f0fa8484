#include "train/objective.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "diffusion/flow.h"

namespace stepd {
namespace {

LossKind loss_kind_of(const std::string& type) {
    if (type == "huber") return LossKind::huber;
    if (type == "smooth_l1") return LossKind::smooth_l1;
    return LossKind::l2;
}

TimestepDraw draw_of(const NoiseConfig& noise, Prediction prediction) {
    const bool flow = prediction == Prediction::flow;
    if (flow) return noise.timesteps == "uniform" ? TimestepDraw::uniform : TimestepDraw::normal;
    STEPD_REQUIRE(noise.timesteps != "sigmoid", Code::invalid,
                  "config.noise.timesteps = \"sigmoid\" needs flow matching, but the model predicts ",
                  name_of(prediction));
    return TimestepDraw::integers;
}

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

}  // namespace

int64_t stratified_timestep(int64_t timestep, int64_t b, int64_t batch, int64_t timesteps) {
    return (b * timesteps + timestep) / batch;
}

double stratified_uniform(double u, int64_t b, int64_t batch) { return (double(b) + u) / double(batch); }

double stratified_normal(double u, int64_t b, int64_t batch) {
    const double p = stratified_uniform(normal_cdf(u), b, batch);
    double low = -9, high = 9;  // one normal in 10^18 lies outside
    for (int i = 0; i < 64; i++) {
        const double middle = (low + high) / 2;
        (normal_cdf(middle) < p ? low : high) = middle;
    }
    return (low + high) / 2;
}

Objective::Objective(const LossConfig& loss, const NoiseConfig& noise, const nlohmann::json& scheduler_config)
    : loss_(loss),
      noise_(noise),
      prediction_(loss.prediction.empty() ? scheduler_prediction(scheduler_config) : parse_prediction(loss.prediction)),
      loss_kind_(loss_kind_of(loss.type)),
      huber_(parse_huber_schedule(loss.huber_schedule)),
      draw_(draw_of(noise, prediction_)) {
    if (prediction_ != Prediction::flow) {
        schedule_.emplace(NoiseScheduleOptions::from_json(scheduler_config));
        STEPD_REQUIRE(noise.shift == 1 && noise.sigmoid_scale == 1, Code::invalid,
                      "config.noise.shift and sigmoid_scale need flow matching, but the model predicts ",
                      name_of(prediction_));
    } else {
        STEPD_REQUIRE(loss.snr_gamma == 0, Code::invalid,
                      "config.loss.snr_gamma: min-SNR weights are not defined for flow matching; set it to 0");
    }
}

int64_t Objective::timestep(int64_t b, const Draws& draws) const {
    const int64_t t = draws.timesteps.at(size_t(b));
    if (!noise_.stratified) return t;
    return stratified_timestep(t, b, int64_t(draws.timesteps.size()), schedule_->train_timesteps());
}

float Objective::sigma(int64_t b, const Draws& draws) const {
    float u = draws.u.at(size_t(b));
    const int64_t batch = int64_t(draws.u.size());
    float sigma;
    if (draw_ == TimestepDraw::uniform) {
        sigma = noise_.stratified ? float(stratified_uniform(u, b, batch)) : u;
    } else {
        if (noise_.stratified) u = float(stratified_normal(u, b, batch));
        if (noise_.sigmoid_scale != 1) u *= float(noise_.sigmoid_scale);
        sigma = 1.f / (1.f + std::exp(-u));
    }
    return shifted(sigma);
}

float Objective::shifted(float sigma) const {
    if (noise_.shift == 1) return sigma;
    return float(noise_.shift) * sigma / (1.f + float(noise_.shift - 1) * sigma);
}

double Objective::level(int64_t b, const Draws& draws) const {
    return prediction_ == Prediction::flow ? double(sigma(b, draws)) : double(timestep(b, draws));
}

std::vector<double> Objective::even_levels(int64_t count) const {
    const int64_t last = train_timesteps();
    STEPD_REQUIRE(count >= 1 && count <= last, Code::invalid, "timesteps = ", count, " is outside 1 to ", last,
                  ", the timesteps of the schedule");
    std::vector<double> levels;
    for (int64_t i = 0; i < count; i++) {
        const double share = double(i) / double(count);
        if (prediction_ == Prediction::flow)
            levels.push_back(double(shifted(float(1 - share))));
        else
            levels.push_back(std::nearbyint(double(last) - share * double(last)) - 1);
    }
    return levels;
}

void Objective::prepare(int64_t b, double level, std::span<const float> x0, std::span<const float> noise,
                        TrainingInputs& inputs) const {
    const size_t n = x0.size(), row = size_t(b);
    std::span<float> latents(inputs.latents.data() + row * n, n), target(inputs.target.data() + row * n, n);
    double time, noise_level;
    inputs.weight[row] = 1;
    if (prediction_ == Prediction::flow) {
        const float s = float(level);
        flow_interpolate(s, x0, noise, latents);
        flow_target(x0, noise, target);
        inputs.timestep[row] = s * float(kFlowTimesteps);
        time = s;
        noise_level = flow_noise_level(s);
    } else {
        const int64_t t = int64_t(level);
        schedule_->add_noise(t, x0, noise, latents);
        schedule_->target(prediction_, t, x0, noise, target);
        inputs.timestep[row] = float(t);
        inputs.weight[row] = min_snr_weight(prediction_, schedule_->snr(t), loss_.snr_gamma);
        time = double(t) / double(schedule_->train_timesteps());
        noise_level = schedule_->sigma(t);
    }
    if (loss_kind_ != LossKind::l2) inputs.huber_c[row] = huber_c(huber_, loss_.huber_c, time, noise_level);
}

}  // namespace stepd
