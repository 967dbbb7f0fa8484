// The functions of the tiny autoencoder.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) -> max(0, x); NaN stays NaN
void op_relu(const KernelArgs& k) {
    map_unary(k, [](Vec x) { return max(set1(0.f), x); });
}

// (x) -> tanh(x) = 2 sigmoid(2x) - 1
void op_tanh(const KernelArgs& k) {
    map_unary(k, [](Vec x) { return fma(set1(2.f), sigmoid(x + x), set1(-1.f)); });
}

}  // namespace stepd::STEPD_ISA
