// Multiplication by a constant and addition of another, and change of element type.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) {alpha, beta?} -> alpha x + beta, the product rounded first
void op_scale(const KernelArgs& k) {
    const float constant = float(k.attr("beta", 0));
    Vec alpha = set1(float(k.attr("alpha"))), beta = set1(constant);
    if (constant == 0)
        map_unary(k, [=](Vec x) { return alpha * x; });
    else
        map_unary(k, [=](Vec x) { return alpha * x + beta; });
}

// (x) {dtype} -> x in the element type of the output, rounded to nearest even
void op_cast(const KernelArgs& k) {
    map_unary(k, [](Vec x) { return x; });
}

}  // namespace stepd::STEPD_ISA
