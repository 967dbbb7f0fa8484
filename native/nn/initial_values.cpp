#include "nn/initial_values.h"

#include <cmath>

#include "io/random.h"

namespace stepd::nn {

namespace {

// torch's uniform_(-bound, bound): bounds rounded to float32, then one rounding an element.
void symmetric_uniform(Generator& generator, double bound, float* out, int64_t n) {
    generator.rand(out, n);
    float from = float(-bound), to = float(bound);
    for (int64_t i = 0; i < n; ++i) out[i] = std::fma(out[i], to - from, from);
}

}  // namespace

void kaiming_uniform(Generator& generator, int64_t fan_in, float* out, int64_t n) {
    double slope = std::sqrt(5.0);
    double gain = std::sqrt(2.0 / (1 + slope * slope));
    symmetric_uniform(generator, std::sqrt(3.0) * (gain / std::sqrt(double(fan_in))), out, n);
}

void bias_uniform(Generator& generator, int64_t fan_in, float* out, int64_t n) {
    symmetric_uniform(generator, 1 / std::sqrt(double(fan_in)), out, n);
}

}  // namespace stepd::nn
