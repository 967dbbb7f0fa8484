// Sum and product, with the second operand broadcast over leading dimensions.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (a, b) -> y = a + b; the shape of b is that of a or a suffix of it.
void op_add(const KernelArgs& k) {
    map_binary(k, [](Vec a, Vec b) { return a + b; });
}

// (a, b) -> y = a * b; shapes as in add.
void op_mul(const KernelArgs& k) {
    map_binary(k, [](Vec a, Vec b) { return a * b; });
}

}  // namespace stepd::STEPD_ISA
