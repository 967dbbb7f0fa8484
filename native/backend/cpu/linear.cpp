// Linear layers, y = x w^T + b with w[M,K], and their gradients. Shapes are in ops/ops.inc; leading dimensions of x and
// y count as rows.
#include "backend/cpu/gemm.h"
#include "backend/cpu/gemm_internal.h"
#include "backend/cpu/kernels.h"

namespace stepd::STEPD_ISA {
namespace {

// A contiguous tensor as a matrix of `cols` columns; absent when the tensor is.
Matrix matrix_of(const Tensor& t, int64_t cols) { return Matrix{t.data, t.dtype, cols}; }

// y = x w^T + b without the rest of the epilogue.
Gemm forward_product(const KernelArgs& k, const Tensor& y) {
    const Tensor &x = k.in[0], &w = k.in[1];
    Gemm g;
    g.n = w.dim(0);
    g.k = w.dim(1);
    g.m = x.numel() / g.k;
    g.a = matrix_of(x, g.k);
    g.b = matrix_of(w, g.k);
    g.b_transposed = true;
    g.c = matrix_of(y, g.n);
    if (k.in.size() > 2 && k.in[2]) g.bias = &k.in[2];
    return g;
}

// dx = dy w.
Gemm input_gradient_product(const KernelArgs& k) {
    const Tensor &dy = k.in[0], &w = k.in[1];
    Gemm g;
    g.k = w.dim(0);
    g.n = w.dim(1);
    g.m = dy.numel() / g.k;
    g.a = matrix_of(dy, g.k);
    g.b = matrix_of(w, g.n);
    g.c = matrix_of(k.out[0], g.n);
    return g;
}

}  // namespace

void op_linear(const KernelArgs& k) { gemm(forward_product(k, k.out[0]), k.pool); }

void op_linear_gelu(const KernelArgs& k) {
    Gemm g = forward_product(k, k.out[0]);
    g.pre = matrix_of(k.out[1], g.n);
    g.gelu = true;
    gemm(g, k.pool);
}

void op_linear_gate_residual(const KernelArgs& k) {
    const Tensor &x = k.in[0], &gate = k.in[3], &residual = k.in[4];
    Gemm g = forward_product(k, k.out[0]);
    g.pre = matrix_of(k.out[1], g.n);
    g.gate = matrix_of(gate, g.n);
    g.rows_per_gate = x.dim(1);
    g.add = matrix_of(residual, g.n);
    gemm(g, k.pool);
}

void op_linear_dx(const KernelArgs& k) {
    Gemm g = input_gradient_product(k);
    if (k.in.size() > 2) g.add = matrix_of(k.in[2], g.n);
    gemm(g, k.pool);
}

void op_linear_dx_gelu(const KernelArgs& k) {
    Gemm g = input_gradient_product(k);
    g.gelu_grad = matrix_of(k.in[2], g.n);
    gemm(g, k.pool);
}

void op_linear_dw(const KernelArgs& k) {
    const Tensor &dy = k.in[0], &x = k.in[1];
    Gemm g;
    g.m = dy.dim(-1);
    g.n = x.dim(-1);
    g.k = dy.numel() / g.m;
    g.a = matrix_of(dy, g.m);
    g.a_transposed = true;
    g.b = matrix_of(x, g.n);
    g.c = matrix_of(k.out[0], g.n);
    if (k.attr("bias", 0) != 0) g.a_row_sums = k.out[1].f32();
    gemm(g, k.pool);
}

}  // namespace stepd::STEPD_ISA
