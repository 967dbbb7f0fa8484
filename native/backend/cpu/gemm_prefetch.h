// Asks for the memory of an operand's next block while this one is being multiplied.
#pragma once

#include <utility>

#include "backend/cpu/gemm_internal.h"

namespace stepd::STEPD_ISA {

// A few cache lines at a time, between the calls of the micro-kernel. Where packing waits for memory otherwise, that is
// 1 to 5 % of a product.
class Prefetch {
public:
    Prefetch() = default;
    // Rows [row, row+rows) x [k, k+depth) of an operand in `steps` portions; by_row says that k runs along memory.
    Prefetch(const Matrix& m, bool by_row, int64_t row, int64_t k, int64_t rows, int64_t depth, int64_t steps) {
        const int64_t size = m.dtype == DType::f32 ? 4 : 2;
        if (!by_row) std::swap(row, k), std::swap(rows, depth);
        next_ = static_cast<const char*>(m.data) + (row * m.ld + k) * size;
        stride_ = m.ld * size;
        lines_ = divide_up(depth * size, 64);
        left_ = rows * lines_;
        portion_ = divide_up(left_, steps);
    }
    void advance() {
        for (int64_t i = std::min(left_, portion_); i > 0; i--) {
            _mm_prefetch(next_ + line_ * 64, _MM_HINT_T1);
            left_--;
            if (++line_ == lines_) line_ = 0, next_ += stride_;
        }
    }

private:
    const char* next_ = nullptr;
    int64_t stride_ = 0, lines_ = 0, line_ = 0, left_ = 0, portion_ = 0;
};

}  // namespace stepd::STEPD_ISA
