// Exponential moving average of the trained weights, in f32 (the decay of diffusers' EMAModel).
#pragma once

#include <cstdint>

namespace stepd {

struct EmaOptions {
    double decay = 0.9999;  // upper bound
    bool warmup = false;    // 1 - (1 + k/inv_gamma)^-power instead of (1 + k)/(10 + k)
    double inv_gamma = 1;
    double power = 2.0 / 3;
};

// Decay after optimizer step `step` (1 for the first): 0 then, so that the average starts at the weights.
double ema_decay(const EmaOptions& options, int64_t step);

}  // namespace stepd
