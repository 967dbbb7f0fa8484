// Matrix product of the CPU backend, with fused epilogues. Any mix of f32 and bf16; accumulation is f32 in an order
// that depends on the shape alone, never on the number of threads.
#pragma once

#include <cstdint>

#include "backend/cpu/simd.h"
#include "base/pool.h"
#include "base/tensor.h"

namespace stepd::STEPD_ISA {

struct Matrix {
    void* data = nullptr;
    DType dtype = DType::f32;
    int64_t ld = 0;  // distance between rows, in elements
};

// C[m,n] = epilogue(sum_k A(m,k) B(k,n)).
struct Gemm {
    int64_t m = 0, n = 0, k = 0;
    Matrix a;  // stored [m,k], or [k,m] when a_transposed
    bool a_transposed = false;
    Matrix b;  // stored [k,n], or [n,k] when b_transposed (a Linear weight)
    bool b_transposed = false;
    Matrix c;  // [m,n]

    // When set: a_row_sums[i] = sum_k A(i,k), a bias gradient beside a weight gradient.
    float* a_row_sums = nullptr;

    // The epilogue, applied in this order to the f32 accumulator v of element (i,j):
    const Tensor* bias = nullptr;  // v += bias[j]
    Matrix pre;                    // when pre.data: pre[i,j] = v rounded to pre.dtype (what backward needs)
    bool gelu = false;             // v = gelu_tanh(v rounded to c.dtype), so that pre alone gives the same y
    Matrix gelu_grad;              // when set: v *= gelu_tanh'(gelu_grad[i,j])
    Matrix gate;                   // when set, [m / rows_per_gate, n]: v *= gate[i / rows_per_gate, j]
    int64_t rows_per_gate = 1;
    Matrix add;  // when set: v += add[i,j]
};

void gemm(const Gemm& g, Pool& pool);

}  // namespace stepd::STEPD_ISA
