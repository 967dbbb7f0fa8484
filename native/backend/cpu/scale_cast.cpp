// Multiplication by a constant, and change of element type.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) {alpha} -> alpha x
void op_scale(const KernelArgs& k) {
    Vec alpha = set1(float(k.attr("alpha")));
    map_unary(k, [=](Vec x) { return alpha * x; });
}

// (x) {dtype} -> x in the element type of the output, rounded to nearest even
void op_cast(const KernelArgs& k) {
    map_unary(k, [](Vec x) { return x; });
}

}  // namespace stepd::STEPD_ISA
