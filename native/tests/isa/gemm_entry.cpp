// Compiled once per instruction set together with backend/cpu/gemm*.cpp (see CMakeLists.txt).
#include "tests/isa/gemm_entry.h"

#include "backend/cpu/gemm.h"

namespace {

stepd::STEPD_ISA::Matrix matrix(const stepd::test::MatrixView& v) { return {v.data, v.dtype, v.ld}; }

}  // namespace

#define STEPD_JOIN_(a, b) a##b
#define STEPD_JOIN(a, b) STEPD_JOIN_(a, b)
extern "C" void STEPD_JOIN(stepd_test_gemm_, STEPD_ISA)(const stepd::test::GemmCall& call, stepd::Pool& pool) {
    stepd::STEPD_ISA::Gemm g;
    g.m = call.m, g.n = call.n, g.k = call.k;
    g.a = matrix(call.a), g.a_transposed = call.a_transposed;
    g.b = matrix(call.b), g.b_transposed = call.b_transposed;
    g.c = matrix(call.c);
    g.bias = call.bias;
    g.pre = matrix(call.pre);
    g.gelu = call.gelu;
    g.gelu_grad = matrix(call.gelu_grad);
    g.gate = matrix(call.gate), g.rows_per_gate = call.rows_per_gate;
    g.add = matrix(call.add);
    gemm(g, pool);
}
