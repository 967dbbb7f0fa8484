#include "optim/ema.h"

#include <algorithm>
#include <cmath>

namespace stepd {

double ema_decay(const EmaOptions& options, int64_t step) {
    if (options.constant) return options.decay;
    const double k = double(step - 1);
    if (k <= 0) return 0;
    const double rising = options.warmup ? 1 - std::pow(1 + k / options.inv_gamma, -options.power) : (1 + k) / (10 + k);
    return std::max(0.0, std::min(rising, options.decay));
}

}  // namespace stepd
