// Root-mean-square norm of T5.
#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

// x as an element of type T would hold it.
inline Vec rounded_to(const float*, Vec x) { return x; }
inline Vec rounded_to(const bf16*, Vec x) {
    bf16 t[W];
    store(t, x);
    return load(t);
}

}  // namespace

// (x[..,D], w[D]) {eps} -> y: x / sqrt(mean(x^2) + eps), rounded to the type of w, then times w (as transformers does).
void op_rms_norm(const KernelArgs& k) {
    int64_t width = k.in[1].numel(), rows = k.in[0].numel() / width;
    float eps = float(k.attr("eps"));
    int64_t rows_per_ticket = std::max<int64_t>(1, kBlockElements / width);
    with_types(
        [&](const auto* x, const auto* w, auto* y) {
            k.pool.run((rows + rows_per_ticket - 1) / rows_per_ticket, [&](int64_t ticket, int) {
                int64_t row = ticket * rows_per_ticket, row_end = std::min(rows, row + rows_per_ticket);
                for (; row < row_end; row++) {
                    Vec squares = set1(0.f);
                    for_vectors(width, [&](int64_t i, auto lanes) {
                        Vec v = load(x + row * width + i, lanes);
                        squares = fma(v, v, squares);
                    });
                    float rstd = 1.f / std::sqrt(sum(squares) / float(width) + eps);
                    for_vectors(width, [&](int64_t i, auto lanes) {
                        Vec normed = rounded_to(w, load(x + row * width + i, lanes) * set1(rstd));
                        store(y + row * width + i, normed * load(w + i, lanes), lanes);
                    });
                }
            });
        },
        k.in[0], k.in[1], k.out[0]);
}

}  // namespace stepd::STEPD_ISA
