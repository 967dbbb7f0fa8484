// The building blocks of attention: small f32 matrix products out of the first two caches, and packing between rows of
// f32 or bf16 in memory and f32 blocks whose rows are whole vectors.
#pragma once

#include "backend/cpu/attention_shapes.h"
#include "backend/cpu/elementwise.h"

namespace stepd::STEPD_ISA {

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// A matrix in memory: element (i, j) at data[i * row + j * col].
struct Strided {
    const float* data;
    int64_t row, col;
};

// c[i, j] (+)= sum over l < depth of a(i, l) b[l, j], for i < rows and j < cols. cols is a multiple of W; b and c are
// row major with rows ldb and ldc floats apart. The order of the sum depends on depth alone.
void tile_product(Strided a, const float* b, int64_t ldb, int64_t rows, int64_t cols, int64_t depth, float* c,
                  int64_t ldc, bool accumulate);

// to[r, c] = x(r, c), zero for width <= c < ld_to. ld_to is a multiple of W.
void pack_rows(const HeadRows& x, int64_t rows, float* to, int64_t ld_to);

// to[c, r] = x(r, c), zero for rows <= r < ld_to. ld_to is a multiple of W.
void pack_transposed(const HeadRows& x, int64_t rows, float* to, int64_t ld_to);

// products[r] = sum over channels of x(r, c) y(r, c)
void row_products(const HeadRows& x, const HeadRows& y, int64_t rows, float* products);

// x(r, c) = from[r, c]
void unpack_rows(const float* from, int64_t ld_from, int64_t rows, const HeadRows& x);

// x(r, c) = from[c, r] * factor[r], or without a factor where it is null. ld_from is a multiple of W, and so many
// factors are read.
void unpack_transposed(const float* from, int64_t ld_from, const float* factor, int64_t rows, const HeadRows& x);

// to[c, r] = scale * to[c, r] + x(r, c): scores with the bias of each (query r, key c). ld_to is a multiple of W.
void scale_and_add_transposed(const HeadRows& x, int64_t rows, float scale, float* to, int64_t ld_to);

}  // namespace stepd::STEPD_ISA
