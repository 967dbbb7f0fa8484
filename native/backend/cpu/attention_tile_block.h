// The 32x32 product on tiles that attention is made of, and the way from f32 results back to packed bf16 operands.
#pragma once

#include "backend/cpu/tile.h"
#include "backend/cpu/tile_pack.h"

namespace stepd::STEPD_ISA {

constexpr int64_t kBlockFloats = kStepRows * kStepRows;

inline int64_t steps_of(int64_t n) { return (n + kStepDepth - 1) / kStepDepth; }

// c[32, 32] (+)= a b, with `steps` consecutive steps of an A panel and of a B panel. ldc in floats.
inline void tile_block(const bf16* a, const bf16* b, int64_t steps, float* c, int64_t ldc, bool accumulate) {
    int64_t stride = ldc * int64_t(sizeof(float));
    tile_fence();
    if (accumulate) {
        STEPD_TILE_LOAD(0, c, stride);
        STEPD_TILE_LOAD(1, c + 16, stride);
        STEPD_TILE_LOAD(2, c + 16 * ldc, stride);
        STEPD_TILE_LOAD(3, c + 16 * ldc + 16, stride);
    } else {
        STEPD_TILE_ZERO(0);
        STEPD_TILE_ZERO(1);
        STEPD_TILE_ZERO(2);
        STEPD_TILE_ZERO(3);
    }
    for (int64_t s = 0; s < steps; s++, a += kStepSize, b += kStepSize) {
        STEPD_TILE_LOAD(4, a, kTileBytes);
        STEPD_TILE_LOAD(6, b, kTileBytes);
        STEPD_TILE_DOT(0, 4, 6);
        STEPD_TILE_LOAD(7, b + kTileSize, kTileBytes);
        STEPD_TILE_DOT(1, 4, 7);
        STEPD_TILE_LOAD(5, a + kTileSize, kTileBytes);
        STEPD_TILE_DOT(2, 5, 6);
        STEPD_TILE_DOT(3, 5, 7);
    }
    STEPD_TILE_STORE(0, c, stride);
    STEPD_TILE_STORE(1, c + 16, stride);
    STEPD_TILE_STORE(2, c + 16 * ldc, stride);
    STEPD_TILE_STORE(3, c + 16 * ldc + 16, stride);
    tile_fence();
}

// Rounds two vectors to 32 bf16, one after the other: half a row of an A step each.
inline void store_joined(bf16* to, Vec first, Vec second) {
    _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(second.v, first.v));
}

// Rounds two vectors to 16 pairs of bf16: a row of a B tile.
inline void store_paired(bf16* to, Vec even, Vec odd) {
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                                6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i joined = (__m512i)_mm512_cvtne2ps_pbh(odd.v, even.v);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(interleave, joined));
}

// e^x for x up to about 0 to a relative 1e-4: enough for weights that are rounded to bf16. Below 2^-126 it stays there.
inline Vec rough_exp(Vec x) {
    Vec y = max(set1(-126.f), x * set1(1.44269504f));
    Vec n = round(y), f = y - n;
    Vec p = fma(f, set1(0.0558263f), set1(0.2401536f));  // minimax of 2^f on [-1/2, 1/2]
    p = fma(p, f, set1(0.6931531f));
    p = fma(p, f, set1(0.9999995f));
    return scalef(p, n);
}

}  // namespace stepd::STEPD_ISA
