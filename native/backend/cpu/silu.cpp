// SiLU, x sigmoid(x), and its gradient.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) -> x sigmoid(x)
void op_silu(const KernelArgs& k) {
    map_unary(k, [](Vec x) { return x * sigmoid(x); });
}

// (dy, x) -> dy s (1 + x (1 - s)), s = sigmoid(x)
void op_silu_bwd(const KernelArgs& k) {
    map_binary(k, [](Vec dy, Vec x) {
        Vec s = sigmoid(x);
        return dy * s * fma(x, set1(1.f) - s, set1(1.f));
    });
}

}  // namespace stepd::STEPD_ISA
