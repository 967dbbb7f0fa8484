// GELU, tanh approximation, and its gradient.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) -> gelu(x)
void op_gelu(const KernelArgs& k) {
    map_unary(k, [](Vec x) { return gelu(x); });
}

// (dy, x) -> dy gelu'(x)
void op_gelu_bwd(const KernelArgs& k) {
    map_binary(k, [](Vec dy, Vec x) { return dy * gelu_derivative(x); });
}

}  // namespace stepd::STEPD_ISA
