// A door to gemm() of each instruction set for the tests: inside the library it is not a global symbol.
#pragma once

#include "base/pool.h"
#include "base/tensor.h"

namespace stepd::test {

struct MatrixView {
    void* data = nullptr;
    DType dtype = DType::f32;
    int64_t ld = 0;
};

// The fields of Gemm (backend/cpu/gemm.h), free of any instruction set.
struct GemmCall {
    int64_t m = 0, n = 0, k = 0;
    MatrixView a;
    bool a_transposed = false;
    MatrixView b;
    bool b_transposed = false;
    MatrixView c;
    const Tensor* bias = nullptr;
    MatrixView pre;
    bool gelu = false;
    MatrixView gelu_grad, gate;
    int64_t rows_per_gate = 1;
    MatrixView add;
};

}  // namespace stepd::test

extern "C" {
void stepd_test_gemm_avx2(const stepd::test::GemmCall& call, stepd::Pool& pool);
void stepd_test_gemm_avx512(const stepd::test::GemmCall& call, stepd::Pool& pool);
void stepd_test_gemm_amx(const stepd::test::GemmCall& call, stepd::Pool& pool);
void stepd_test_gemm_amx_emulated(const stepd::test::GemmCall& call, stepd::Pool& pool);
}
