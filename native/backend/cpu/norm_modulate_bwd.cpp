// Gradient of norm_modulate.
#include <cstring>

#include "backend/cpu/kernels.h"
#include "backend/cpu/ordered_sum.h"

namespace stepd::STEPD_ISA {
namespace {

template <class DY, class X, class Add, class DX>
struct Row {
    const DY* dy;
    const X* x;
    const Add* add;  // may be null
    DX* dx;
    const float* scale;
    float mean, rstd;
};

// With n = (x - mean) rstd and g = dy (1 + scale):
//   dx = add + rstd (g - mean(g) - n mean(g n)),  dscale += dy n,  dshift += dy.
template <class Row>
void row_backward(const Row& r, int64_t width, float* dscale, float* dshift) {
    Vec mean = set1(r.mean), rstd = set1(r.rstd);
    Vec sum_g = set1(0.f), sum_gn = set1(0.f);
    for_vectors(width, [&](int64_t i, auto lanes) {
        Vec dy = load(r.dy + i, lanes);
        Vec n = (load(r.x + i, lanes) - mean) * rstd;
        Vec g = dy * (set1(1.f) + load(r.scale + i, lanes));
        sum_g += g;
        sum_gn = fma(g, n, sum_gn);
        store(dscale + i, fma(dy, n, load(dscale + i, lanes)), lanes);
        store(dshift + i, dy + load(dshift + i, lanes), lanes);
    });
    Vec mean_g = set1(sum(sum_g) / float(width)), mean_gn = set1(sum(sum_gn) / float(width));
    for_vectors(width, [&](int64_t i, auto lanes) {
        Vec n = (load(r.x + i, lanes) - mean) * rstd;
        Vec g = load(r.dy + i, lanes) * (set1(1.f) + load(r.scale + i, lanes));
        Vec dx = rstd * (g - mean_g - n * mean_gn);
        store(r.dx + i, r.add ? dx + load(r.add + i, lanes) : dx, lanes);
    });
}

}  // namespace

// (dy[B,S,D], x, scale[B,D] f32, mean[B,S] f32, rstd[B,S] f32, add[B,S,D]?) -> dx, dscale[B,D] f32, dshift[B,D] f32
void op_norm_modulate_bwd(const KernelArgs& k) {
    int64_t width = k.in[1].dim(-1), tokens = k.in[1].dim(-2), batch = k.in[1].numel() / (width * tokens);
    const float *scales = k.in[2].f32(), *means = k.in[3].f32(), *rstds = k.in[4].f32();
    OrderedSum sums(k.pool, batch, tokens, 2 * width);  // dscale, then dshift
    with_types(
        [&](const auto* dy, const auto* x, const auto* add, auto* dx) {
            k.pool.run(batch * sums.chunks(), [&](int64_t ticket, int) {
                int64_t b = ticket / sums.chunks(), chunk = ticket % sums.chunks();
                float* partial = sums.partial(b, chunk);
                std::memset(partial, 0, size_t(2 * width) * sizeof(float));
                for (int64_t s = sums.begin(chunk); s < sums.end(chunk); s++) {
                    int64_t row = b * tokens + s, at = row * width;
                    Row r{dy + at,    x + at,    add ? add + at : nullptr, dx + at, scales + b * width,
                          means[row], rstds[row]};
                    row_backward(r, width, partial, partial + width);
                }
            });
        },
        k.in[0], k.in[1], has_input(k, 5) ? k.in[5] : Tensor{}, k.out[0]);
    if (k.out[1]) sums.finish(k.out[1], 0);
    if (k.out[2]) sums.finish(k.out[2], width);
}

}  // namespace stepd::STEPD_ISA
