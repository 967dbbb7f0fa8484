// Layer norm without weights, followed by the modulation of adaptive layer norm.
#include "backend/cpu/kernels.h"
#include "backend/cpu/row_statistics.h"

namespace stepd::STEPD_ISA {

// (x[B,S,D], scale[B,D] f32, shift[B,D] f32) {eps} -> y, mean[B,S] f32, rstd[B,S] f32
// y = (x - mean) rstd (1 + scale) + shift, in f32 with one rounding at the store; rstd = 1 / sqrt(variance + eps).
void op_norm_modulate(const KernelArgs& k) {
    const Tensor& x = k.in[0];
    int64_t width = x.dim(-1), tokens = x.dim(-2), rows = x.numel() / width;
    float eps = float(k.attr("eps"));
    const float *scales = k.in[1].f32(), *shifts = k.in[2].f32();
    float *means = k.out[1].f32(), *rstds = k.out[2].f32();
    int64_t rows_per_ticket = std::max<int64_t>(1, kBlockElements / width);
    with_types(
        [&](const auto* x, auto* y) {
            k.pool.run((rows + rows_per_ticket - 1) / rows_per_ticket, [&](int64_t ticket, int) {
                int64_t row = ticket * rows_per_ticket, row_end = std::min(rows, row + rows_per_ticket);
                for (; row < row_end; row++) {
                    auto [mean, variance] = row_statistics(x + row * width, width);
                    float rstd = 1.f / std::sqrt(variance + eps);
                    const float* scale = scales + row / tokens * width;
                    const float* shift = shifts + row / tokens * width;
                    for_vectors(width, [&](int64_t i, auto lanes) {
                        Vec normed = (load(x + row * width + i, lanes) - set1(mean)) * set1(rstd);
                        Vec factor = set1(1.f) + load(scale + i, lanes);
                        store(y + row * width + i, fma(normed, factor, load(shift + i, lanes)), lanes);
                    });
                    means[row] = mean;
                    rstds[row] = rstd;
                }
            });
        },
        x, k.out[0]);
}

}  // namespace stepd::STEPD_ISA
