// Sums over rows whose result does not depend on the number of threads: rows are summed in chunks of a fixed size, one
// chunk a ticket, and the chunk totals are added in chunk order.
#pragma once

#include "backend/cpu/elementwise.h"

namespace stepd::STEPD_ISA {

class OrderedSum {
public:
    static constexpr int64_t kChunkRows = 32;

    // `batch` independent sums of `rows` rows of `cols` columns each. The chunk totals live in the scratch of thread 0,
    // so tickets that use partial() must not ask the pool for scratch themselves.
    OrderedSum(Pool& pool, int64_t batch, int64_t rows, int64_t cols)
        : pool_(pool), batch_(batch), rows_(rows), cols_(cols), chunks_((rows + kChunkRows - 1) / kChunkRows) {
        partials_ = static_cast<float*>(pool.scratch(0, size_t(batch * chunks_ * cols) * sizeof(float)));
    }

    int64_t chunks() const { return chunks_; }  // per batch element
    int64_t begin(int64_t chunk) const { return chunk * kChunkRows; }
    int64_t end(int64_t chunk) const { return std::min(rows_, (chunk + 1) * kChunkRows); }
    float* partial(int64_t batch, int64_t chunk) { return partials_ + (batch * chunks_ + chunk) * cols_; }

    // Writes out[b, i] = the sum over chunks of partial(b, chunk)[first + i], for i in [0, columns of out).
    void finish(const Tensor& out, int64_t first = 0) {
        int64_t width = out.numel() / batch_;
        with_types(
            [&](auto* y) {
                for_blocks(pool_, batch_, width, [&](int64_t b, int64_t b_end, int64_t col, int64_t col_end) {
                    for (; b < b_end; b++) {
                        for_vectors(col_end - col, [&](int64_t i, auto lanes) {
                            Vec total = set1(0.f);
                            for (int64_t c = 0; c < chunks_; c++) total += load(partial(b, c) + first + col + i, lanes);
                            store(y + b * width + col + i, total, lanes);
                        });
                    }
                });
            },
            out);
    }

private:
    Pool& pool_;
    int64_t batch_, rows_, cols_, chunks_;
    float* partials_;
};

}  // namespace stepd::STEPD_ISA
