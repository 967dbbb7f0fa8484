// Channels first <-> channels last, and nearest-neighbour upsampling.
#include "backend/cpu/axis_copy.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

// y[b, j, i] = x[b, i, j] for x[batch, rows, cols], in square blocks that stay in the first cache.
void transpose_matrices(const KernelArgs& k, int64_t batch, int64_t rows, int64_t cols) {
    constexpr int64_t kBlock = 32;
    int64_t row_blocks = (rows + kBlock - 1) / kBlock, col_blocks = (cols + kBlock - 1) / kBlock;
    with_types(
        [&](const auto* x, auto* y) {
            k.pool.run(batch * col_blocks, [&](int64_t ticket, int) {
                int64_t b = ticket / col_blocks, j0 = ticket % col_blocks * kBlock;
                for (int64_t block = 0; block < row_blocks; block++) {
                    int64_t i0 = block * kBlock, i_end = std::min(rows, i0 + kBlock);
                    for (int64_t j = j0; j < std::min(cols, j0 + kBlock); j++)
                        for (int64_t i = i0; i < i_end; i++)
                            store_scalar(y + (b * cols + j) * rows + i, to_float(x[(b * rows + i) * cols + j]));
                }
            });
        },
        k.in[0], k.out[0]);
}

}  // namespace

// (x[B,C,h,w]) -> [B,h,w,C]
void op_nchw_to_nhwc(const KernelArgs& k) {
    const Tensor& x = k.in[0];
    transpose_matrices(k, x.dim(0), x.dim(1), x.dim(2) * x.dim(3));
}

// (x[B,h,w,C]) -> [B,C,h,w]
void op_nhwc_to_nchw(const KernelArgs& k) {
    const Tensor& x = k.in[0];
    transpose_matrices(k, x.dim(0), x.dim(1) * x.dim(2), x.dim(3));
}

// (x[B,h,w,C]) -> [B,2h,2w,C], each pixel four times
void op_upsample_nearest(const KernelArgs& k) {
    const Tensor &x = k.in[0], &y = k.out[0];
    int64_t width = x.dim(2), channels = x.dim(3);
    k.pool.run(x.dim(0) * x.dim(1), [&](int64_t row, int) {
        for (int64_t i = 0; i < 4 * width; i++) {
            int64_t down = i / (2 * width), right = i % (2 * width);
            copy_elements(y, ((2 * row + down) * 2 * width + right) * channels, x, (row * width + right / 2) * channels,
                          channels);
        }
    });
}

}  // namespace stepd::STEPD_ISA
