// Starting values of layers, as PyTorch draws them.
#pragma once

#include <cstdint>

namespace stepd {
class Generator;
}

namespace stepd::nn {

// torch.nn.init.kaiming_uniform_(weight, a=sqrt(5)): uniform in (-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of
// linear and convolution weights. fan_in: inputs of one output element.
void kaiming_uniform(Generator& generator, int64_t fan_in, float* out, int64_t n);
// The default of their biases: the same range, computed another way.
void bias_uniform(Generator& generator, int64_t fan_in, float* out, int64_t n);

}  // namespace stepd::nn
