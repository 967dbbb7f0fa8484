// Per-sample factors of the diffusion loss: weights and the Huber parameter. The loss itself is op diffusion_loss.
#pragma once

#include <string>

#include "diffusion/noise_schedule.h"

namespace stepd {

// Min-SNR weighting (Hang et al. 2023): min(snr, gamma) over snr (epsilon), snr + 1 (velocity) or 1 (sample).
// gamma <= 0: weight 1. Not defined for flow matching (Code::invalid).
float min_snr_weight(Prediction prediction, float snr, double gamma);

enum class HuberSchedule { constant, exponential, snr };
// "constant", "exponential", "snr"; throws Code::invalid naming the value.
HuberSchedule parse_huber_schedule(const std::string& name);

// Huber parameter of one sample. time in [0, 1] is timestep / train_timesteps (flow: sigma); noise_level is
// NoiseSchedule::sigma(t), or flow_noise_level(sigma).
//   constant c; exponential c^time; snr (1 - c) / (1 + noise_level)^2 + c
float huber_c(HuberSchedule schedule, double c, double time, double noise_level);
double flow_noise_level(double sigma);  // sqrt((1 - tau) / (tau + 1e-4)), tau = 1 - sigma

}  // namespace stepd
