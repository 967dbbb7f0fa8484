// A range of one axis, its gradient, and the change of shape that moves nothing.
#include "backend/cpu/axis_copy.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {

// (x) {axis, begin, length} -> elements begin .. begin+length-1 of the axis
void op_slice(const KernelArgs& k) {
    const Tensor &x = k.in[0], &y = k.out[0];
    AxisView view(x.shape, int64_t(k.attr("axis")));
    int64_t begin = int64_t(k.attr("begin")) * view.inner;
    int64_t run = int64_t(k.attr("length")) * view.inner;
    for_blocks(k.pool, view.outer, run, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
        for (; row < row_end; row++)
            copy_elements(y, row * run + col, x, row * view.extent * view.inner + begin + col, col_end - col);
    });
}

// (dy) {axis, begin, extent} -> dx with dy at begin .. of an axis of `extent` elements, zeros outside
void op_slice_bwd(const KernelArgs& k) {
    const Tensor &dy = k.in[0], &dx = k.out[0];
    AxisView view(dx.shape, int64_t(k.attr("axis")));
    int64_t run = dy.numel() / std::max<int64_t>(1, view.outer);
    int64_t begin = int64_t(k.attr("begin")) * view.inner, row_size = view.extent * view.inner;
    for_blocks(k.pool, view.outer, row_size, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
        int64_t copy = std::clamp(begin, col, col_end), copy_end = std::clamp(begin + run, col, col_end);
        for (; row < row_end; row++) {
            zero_elements(dx, row * row_size + col, copy - col);
            copy_elements(dx, row * row_size + copy, dy, row * run + copy - begin, copy_end - copy);
            zero_elements(dx, row * row_size + copy_end, col_end - copy_end);
        }
    });
}

// (x) -> y with the same elements in the same order. The executor aliases the two; then there is nothing to do.
void op_reshape(const KernelArgs& k) {
    if (k.in[0].data == k.out[0].data) return;
    for_blocks(k.pool, 1, k.out[0].numel(), [&](int64_t, int64_t, int64_t begin, int64_t end) {
        copy_elements(k.out[0], begin, k.in[0], begin, end - begin);
    });
}

}  // namespace stepd::STEPD_ISA
