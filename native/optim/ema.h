// Exponential moving average of the trained weights, in f32 (the decay of diffusers' EMAModel, or a constant one).
#pragma once

#include <cstdint>

namespace stepd {

struct EmaOptions {
    double decay = 0.9999;  // upper bound
    bool constant = false;  // the decay is used as it is from the first step
    bool warmup = false;    // 1 - (1 + k/inv_gamma)^-power instead of (1 + k)/(10 + k)
    double inv_gamma = 1;
    double power = 2.0 / 3;
};

// Decay after optimizer step `step` (1 for the first): 0 then, so that the average starts at the updated weights,
// unless it is constant.
double ema_decay(const EmaOptions& options, int64_t step);

}  // namespace stepd
