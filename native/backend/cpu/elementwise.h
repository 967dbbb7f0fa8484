// Helpers of the memory-bound kernels: element types, vector loops with a tail, and fixed work blocks.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "backend/backend.h"
#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

// Optional inputs at the end of the list may also be left out of it.
inline bool has_input(const KernelArgs& k, size_t i) { return i < k.in.size() && k.in[i]; }

// How many lanes of a vector carry elements: all W of them, or the `lanes` that are left at the end of a row.
struct AllLanes {};
struct SomeLanes {
    int lanes;
};

template <class T>
inline Vec load(const T* p, AllLanes) {
    return load(p);
}
template <class T>
inline Vec load(const T* p, SomeLanes part) {
    return load_part(p, part.lanes);
}
template <class T>
inline void store(T* p, Vec x, AllLanes) {
    store(p, x);
}
template <class T>
inline void store(T* p, Vec x, SomeLanes part) {
    store_part(p, x, part.lanes);
}

// Calls body(i, lanes) for i = 0, W, 2W .. < n.
template <class Body>
inline void for_vectors(int64_t n, const Body& body) {
    int64_t i = 0;
    for (; i + W <= n; i += W) body(i, AllLanes{});
    if (i < n) body(i, SomeLanes{int(n - i)});
}

// Calls f with the elements of each tensor as a typed pointer (const is up to the caller). An absent tensor is a null
// float pointer.
template <class F>
inline void with_types(const F& f) {
    f();
}
template <class F, class... Rest>
inline void with_types(const F& f, const Tensor& first, const Rest&... rest) {
    auto bound = [&](auto* p) { with_types([&](auto*... others) { f(p, others...); }, rest...); };
    STEPD_CHECK(first.dtype != DType::i32, "float elements expected, got i32 ", to_string(first.shape));
    if (first.dtype == DType::bf16)
        bound(first.bf16());
    else
        bound(first.f32());
}

inline void store_scalar(float* p, float x) { *p = x; }
inline void store_scalar(bf16* p, float x) { *p = to_bf16(x); }

// The blocks of a [rows, cols] tensor that are handed out as tickets. Their size depends on the shape alone.
constexpr int64_t kBlockElements = 16384;

// Calls body(row_begin, row_end, col_begin, col_end) for blocks that cover [rows, cols].
template <class Body>
inline void for_blocks(Pool& pool, int64_t rows, int64_t cols, const Body& body) {
    if (rows == 0 || cols == 0) return;
    int64_t block_cols = std::min(cols, kBlockElements);
    int64_t block_rows = std::max<int64_t>(1, kBlockElements / block_cols);
    int64_t col_blocks = (cols + block_cols - 1) / block_cols;
    int64_t row_blocks = (rows + block_rows - 1) / block_rows;
    pool.run(row_blocks * col_blocks, [&](int64_t ticket, int) {
        int64_t row = ticket / col_blocks * block_rows, col = ticket % col_blocks * block_cols;
        body(row, std::min(rows, row + block_rows), col, std::min(cols, col + block_cols));
    });
}

// y[i] = f(x[i]).
template <class F>
inline void map_unary(const KernelArgs& k, const F& f) {
    with_types(
        [&](const auto* x, auto* y) {
            for_blocks(k.pool, 1, k.out[0].numel(), [&](int64_t, int64_t, int64_t begin, int64_t end) {
                for_vectors(end - begin,
                            [&](int64_t i, auto lanes) { store(y + begin + i, f(load(x + begin + i, lanes)), lanes); });
            });
        },
        k.in[0], k.out[0]);
}

// y[r, i] = f(a[r, i], b[i]), where b's shape is a's or a suffix of it.
template <class F>
inline void map_binary(const KernelArgs& k, const F& f) {
    int64_t cols = k.in[1].numel();
    if (cols == 0) return;
    int64_t rows = k.in[0].numel() / cols;
    with_types(
        [&](const auto* a, const auto* b, auto* y) {
            for_blocks(k.pool, rows, cols, [&](int64_t row, int64_t row_end, int64_t col, int64_t col_end) {
                for (; row < row_end; row++) {
                    for_vectors(col_end - col, [&](int64_t i, auto lanes) {
                        int64_t at = row * cols + col + i;
                        store(y + at, f(load(a + at, lanes), load(b + col + i, lanes)), lanes);
                    });
                }
            });
        },
        k.in[0], k.in[1], k.out[0]);
}

}  // namespace stepd::STEPD_ISA
