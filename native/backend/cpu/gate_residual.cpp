// The gated residual connection of adaptive layer norm, and its gradient.
#include <cstring>

#include "backend/cpu/kernels.h"
#include "backend/cpu/ordered_sum.h"

namespace stepd::STEPD_ISA {

// (x[B,S,D], gate[B,D] f32, y[B,S,D]) -> x + gate y
void op_gate_residual(const KernelArgs& k) {
    int64_t width = k.in[0].dim(-1), tokens = k.in[0].dim(-2), rows = k.in[0].numel() / width;
    const float* gates = k.in[1].f32();
    with_types(
        [&](const auto* x, const auto* y, auto* out) {
            for_blocks(k.pool, rows, width, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
                for (; row < row_end; row++) {
                    const float* gate = gates + row / tokens * width;
                    for_vectors(col_end - col, [&](int64_t i, auto lanes) {
                        int64_t at = row * width + col + i;
                        store(out + at, fma(load(gate + col + i, lanes), load(y + at, lanes), load(x + at, lanes)),
                              lanes);
                    });
                }
            });
        },
        k.in[0], k.in[2], k.out[0]);
}

namespace {

// dy = gate dout
void scale_by_gate(const KernelArgs& k) {
    int64_t width = k.in[0].dim(-1), tokens = k.in[0].dim(-2), rows = k.in[0].numel() / width;
    const float* gates = k.in[1].f32();
    with_types(
        [&](const auto* dout, auto* dy) {
            for_blocks(k.pool, rows, width, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
                for (; row < row_end; row++) {
                    for_vectors(col_end - col, [&](int64_t i, auto lanes) {
                        int64_t at = row * width + col + i;
                        store(dy + at, load(dout + at, lanes) * load(gates + row / tokens * width + col + i, lanes),
                              lanes);
                    });
                }
            });
        },
        k.in[0], k.out[0]);
}

}  // namespace

// (dout[B,S,D], gate[B,D] f32, y[B,S,D]?) -> dy = gate dout, dgate[B,D] f32 = sum over tokens of dout y (only with y)
void op_gate_residual_bwd(const KernelArgs& k) {
    if (!k.in[2]) return scale_by_gate(k);
    int64_t width = k.in[0].dim(-1), tokens = k.in[0].dim(-2), batch = k.in[0].numel() / (width * tokens);
    const float* gates = k.in[1].f32();
    OrderedSum sums(k.pool, batch, tokens, width);
    with_types(
        [&](const auto* dout, const auto* y, auto* dy) {
            k.pool.run(batch * sums.chunks(), [&](int64_t ticket, int) {
                int64_t b = ticket / sums.chunks(), chunk = ticket % sums.chunks();
                float* dgate = sums.partial(b, chunk);
                std::memset(dgate, 0, size_t(width) * sizeof(float));
                for (int64_t s = sums.begin(chunk); s < sums.end(chunk); s++) {
                    for_vectors(width, [&](int64_t i, auto lanes) {
                        int64_t at = (b * tokens + s) * width + i;
                        Vec d = load(dout + at, lanes);
                        store(dgate + i, fma(d, load(y + at, lanes), load(dgate + i, lanes)), lanes);
                        store(dy + at, d * load(gates + b * width + i, lanes), lanes);
                    });
                }
            });
        },
        k.in[0], k.in[2], k.out[0]);
    if (k.out[1]) sums.finish(k.out[1]);
}

}  // namespace stepd::STEPD_ISA
