// What a micro-batch asks the denoiser to predict: noise level, noised latents, target and weight of every sample.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffusion/loss_terms.h"
#include "diffusion/noise_schedule.h"
#include "io/draws.h"
#include "train/config.h"
#include "train/trainer.h"

namespace stepd {

class Objective {
public:
    // Throws Code::invalid naming the field where loss, noise and the folder's scheduler contradict each other.
    Objective(const LossConfig& loss, const NoiseConfig& noise, const nlohmann::json& scheduler_config);

    Prediction prediction() const { return prediction_; }
    LossKind loss_kind() const { return loss_kind_; }
    TimestepDraw timestep_draw() const { return draw_; }
    int64_t train_timesteps() const { return schedule_ ? schedule_->train_timesteps() : kFlowTimesteps; }

    // The noise level of sample `b` of the micro-batch: a timestep of the schedule, or sigma for flow matching.
    double level(int64_t b, const Draws& draws) const;
    // `count` levels spread evenly over the schedule, the noisiest first: timestep round(T - i T / count) - 1
    // (diffusers' "trailing" spacing), or sigma 1 - i / count, shifted as in training. Throws Code::invalid unless
    // count is 1 to T.
    std::vector<double> even_levels(int64_t count) const;

    // Sets timestep, latents, target, weight and huber_c of sample `b` of the micro-batch. x0 and noise: [C,h,w].
    void prepare(int64_t b, double level, std::span<const float> x0, std::span<const float> noise,
                 TrainingInputs& inputs) const;

private:
    static constexpr int64_t kFlowTimesteps = 1000;  // the denoiser sees 1000 sigma

    int64_t timestep(int64_t b, const Draws& draws) const;
    float sigma(int64_t b, const Draws& draws) const;
    float shifted(float sigma) const;

    LossConfig loss_;
    NoiseConfig noise_;
    Prediction prediction_;
    LossKind loss_kind_;
    HuberSchedule huber_;
    TimestepDraw draw_;
    std::optional<NoiseSchedule> schedule_;  // absent for flow matching
};

// Stratified draws: the b-th of B numbers keeps its own draw but moves it into the b-th of B equal slices of
// probability, so that every micro-batch covers the whole range of noise levels. The stream of random numbers is the
// same either way.
int64_t stratified_timestep(int64_t timestep, int64_t b, int64_t batch, int64_t timesteps);  // floor((b T + t) / B)
double stratified_uniform(double u, int64_t b, int64_t batch);                               // (b + u) / B
double stratified_normal(double u, int64_t b, int64_t batch);                                // Phi^-1((b + Phi(u)) / B)

}  // namespace stepd
