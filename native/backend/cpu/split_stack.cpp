// Splitting a tensor along one axis into equal parts, and the inverse.
#include "backend/cpu/axis_copy.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) {axis, parts} -> y0 .. y(parts-1); part p holds elements p*e .. (p+1)*e-1 of the axis, e = extent / parts. The
// axis itself is absent from the outputs when e = 1 because extent = parts, which changes their shape but not their
// memory.
void op_split(const KernelArgs& k) {
    const Tensor& x = k.in[0];
    AxisView view(x.shape, int64_t(k.attr("axis")));
    int64_t parts = int64_t(k.out.size());
    int64_t run = view.extent / parts * view.inner;
    for_blocks(k.pool, view.outer * parts, run, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
        for (; row < row_end; row++) {
            const Tensor& y = k.out[size_t(row % parts)];
            if (y) copy_elements(y, row / parts * run + col, x, row * run + col, col_end - col);
        }
    });
}

// (x0 .. xn) {axis, squeeze} -> y; absent inputs are zeros.
void op_stack(const KernelArgs& k) {
    const Tensor& y = k.out[0];
    AxisView view(y.shape, int64_t(k.attr("axis")));
    int64_t parts = int64_t(k.in.size());
    int64_t run = view.extent / parts * view.inner;
    for_blocks(k.pool, view.outer * parts, run, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
        for (; row < row_end; row++) {
            const Tensor& x = k.in[size_t(row % parts)];
            if (x)
                copy_elements(y, row * run + col, x, row / parts * run + col, col_end - col);
            else
                zero_elements(y, row * run + col, col_end - col);
        }
    });
}

}  // namespace stepd::STEPD_ISA
