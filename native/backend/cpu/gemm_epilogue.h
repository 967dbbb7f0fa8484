// What happens to a finished f32 element of C: see the fields of Gemm for the order.
#pragma once

#include "backend/cpu/gemm.h"

namespace stepd::STEPD_ISA {

// Elements (i, j) .. (i, j+count-1) of a matrix as floats; count <= W.
inline Vec load_elements(const void* data, DType dtype, int64_t offset, int count) {
    if (dtype == DType::f32) {
        auto* p = static_cast<const float*>(data) + offset;
        return count == W ? load(p) : load_part(p, count);
    }
    auto* p = static_cast<const bf16*>(data) + offset;
    return count == W ? load(p) : load_part(p, count);
}
inline Vec load_elements(const Matrix& m, int64_t i, int64_t j, int count) {
    return load_elements(m.data, m.dtype, i * m.ld + j, count);
}
inline void store_elements(const Matrix& m, int64_t i, int64_t j, Vec v, int count) {
    if (m.dtype == DType::f32) {
        auto* p = static_cast<float*>(m.data) + i * m.ld + j;
        count == W ? store(p, v) : store_part(p, v, count);
    } else {
        auto* p = static_cast<bf16*>(m.data) + i * m.ld + j;
        count == W ? store(p, v) : store_part(p, v, count);
    }
}

inline Vec round_to_bf16(Vec v) {
    bf16 rounded[W];
    store(rounded, v);
    return load(rounded);
}

// Finishes C(i, j .. j+count-1), count <= W, from its accumulators v. `add` and `gelu_grad` may be the memory of `c`.
inline void finish(const Gemm& g, int64_t i, int64_t j, int count, Vec v) {
    if (g.bias) v += load_elements(g.bias->data, g.bias->dtype, j, count);
    if (g.pre.data) store_elements(g.pre, i, j, v, count);
    if (g.gelu) v = gelu(g.c.dtype == DType::bf16 ? round_to_bf16(v) : v);
    if (g.gelu_grad.data) v = v * gelu_derivative(load_elements(g.gelu_grad, i, j, count));
    if (g.gate.data) v = v * load_elements(g.gate, i / g.rows_per_gate, j, count);
    if (g.add.data) v += load_elements(g.add, i, j, count);
    store_elements(g.c, i, j, v, count);
}

// As finish() for whole vectors of a block, where C, the bias and every matrix of the epilogue have elements of type T
// and the product has exactly these stages: asked once for a product instead of at every vector.
template <class T, bool pre, bool with_gelu, bool gate>
inline void finish_vectors(const Gemm& g, int64_t row, int64_t col, int64_t rows, int64_t cols, const float* v,
                           int64_t ldv) {
    auto at = [col](const Matrix& m, int64_t i) { return static_cast<T*>(m.data) + i * m.ld + col; };
    const T* bias = g.bias ? static_cast<const T*>(g.bias->data) + col : nullptr;
    for (int64_t i = row; i < row + rows; i++, v += ldv) {
        T* c = at(g.c, i);
        const T* add = g.add.data ? at(g.add, i) : nullptr;
        for (int64_t j = 0; j < cols; j += W) {
            Vec x = load(v + j);
            if (bias) x += load(bias + j);
            if constexpr (pre) store(at(g.pre, i) + j, x);
            if constexpr (with_gelu) x = gelu(sizeof(T) == sizeof(bf16) ? round_to_bf16(x) : x);
            if constexpr (gate) x = x * load(at(g.gate, i / g.rows_per_gate) + j);
            if (add) x += load(add + j);
            store(c + j, x);
        }
    }
}

// Whether the bias and all matrices of the epilogue have the type of C.
inline bool has_one_type(const Gemm& g) {
    for (const Matrix* m : {&g.pre, &g.gate, &g.add})
        if (m->data && m->dtype != g.c.dtype) return false;
    return !g.bias || g.bias->dtype == g.c.dtype;
}

// finish_vectors() for the stages that fused ops ask for; false when the product has others. The derivative of GELU is
// not among them: it is faster one vector at a time.
template <class T>
inline bool finish_known_stages(const Gemm& g, int64_t row, int64_t col, int64_t rows, int64_t cols, const float* v,
                                int64_t ldv) {
    switch ((g.pre.data ? 1 : 0) | (g.gelu ? 2 : 0) | (g.gelu_grad.data ? 4 : 0) | (g.gate.data ? 8 : 0)) {
        case 0:
            return finish_vectors<T, false, false, false>(g, row, col, rows, cols, v, ldv), true;
        case 1 | 2:
            return finish_vectors<T, true, true, false>(g, row, col, rows, cols, v, ldv), true;
        case 1 | 8:
            return finish_vectors<T, true, false, true>(g, row, col, rows, cols, v, ldv), true;
        default:
            return false;
    }
}

// Finishes a block of C whose accumulators lie at v, row by row with distance ldv.
inline void finish_block(const Gemm& g, int64_t row, int64_t col, int64_t rows, int64_t cols, const float* v,
                         int64_t ldv) {
    if (cols % W == 0 && has_one_type(g)) {
        if (g.c.dtype == DType::f32 ? finish_known_stages<float>(g, row, col, rows, cols, v, ldv)
                                    : finish_known_stages<bf16>(g, row, col, rows, cols, v, ldv))
            return;
    }
    for (int64_t r = 0; r < rows; r++) {
        int64_t c = 0;
        for (; c + W <= cols; c += W) finish(g, row + r, col + c, W, load(v + r * ldv + c));
        if (c < cols) finish(g, row + r, col + c, int(cols - c), load_part(v + r * ldv + c, int(cols - c)));
    }
}

}  // namespace stepd::STEPD_ISA
