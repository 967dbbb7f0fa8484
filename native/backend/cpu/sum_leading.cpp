// Sum over leading dimensions: the gradient of a broadcast.
#include <cstring>

#include "backend/cpu/elementwise.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/ordered_sum.h"

namespace stepd::STEPD_ISA {

// (x[rows.., rest]) {rank} -> y[rest] f32: the sum over all but the last `rank` dimensions.
void op_sum_leading(const KernelArgs& k) {
    int64_t cols = k.out[0].numel();
    if (cols == 0) return;
    int64_t rows = k.in[0].numel() / cols;
    OrderedSum sums(k.pool, 1, rows, cols);
    with_types(
        [&](const auto* x) {
            for_blocks(k.pool, sums.chunks(), cols,
                       [&](int64_t chunk, int64_t chunk_end, int64_t col, int64_t col_end) {
                           for (; chunk < chunk_end; chunk++) {
                               float* total = sums.partial(0, chunk);
                               std::memset(total + col, 0, size_t(col_end - col) * sizeof(float));
                               for (int64_t row = sums.begin(chunk); row < sums.end(chunk); row++) {
                                   for_vectors(col_end - col, [&](int64_t i, auto lanes) {
                                       float* t = total + col + i;
                                       store(t, load(t, lanes) + load(x + row * cols + col + i, lanes), lanes);
                                   });
                               }
                           }
                       });
        },
        k.in[0]);
    sums.finish(k.out[0]);
}

}  // namespace stepd::STEPD_ISA
