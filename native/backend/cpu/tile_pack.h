// Packing of bf16 operands for AMX tiles. A step is 32 rows x 32 k = 2 KiB: two tiles one after the other.
//   A step: tile h holds rows 16h .. 16h+15, each with 32 consecutive k.
//   B step: tile h holds columns 16h .. 16h+15; tile row i holds the pair (2i, 2i+1) of k for each of them.
// A "row" below is a row of A or a column of B. Rows and k past the end are zero.
#pragma once

#include <algorithm>

#include "backend/cpu/tile.h"

namespace stepd::STEPD_ISA {

constexpr int64_t kStepRows = 32;
constexpr int64_t kStepDepth = 32;
constexpr int64_t kStepSize = kStepRows * kStepDepth;  // elements
constexpr int64_t kTileSize = kStepSize / 2;

// Transposes a 16x16 block of 32-bit lanes.
inline void transpose16(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            r[4 * i + 2 * j] = _mm512_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            r[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

inline uint32_t first_bits(int64_t count) { return count <= 0 ? 0u : count >= 32 ? 0xffffffffu : (1u << count) - 1; }

// One tile, 16 rows x 32 k, of an operand stored row by row: each row as it lies.
inline void load_tile_rows(const bf16* src, int64_t ld, int64_t rows, int64_t depth, __m512i r[16]) {
    __mmask32 mask = first_bits(depth);
    for (int i = 0; i < 16; i++)
        r[i] = i < rows ? _mm512_maskz_loadu_epi16(mask, src + i * ld) : _mm512_setzero_si512();
}

// One tile of an operand stored k by k: lane = row, register i = the pair (2i, 2i+1) of k.
inline void load_tile_pairs(const bf16* src, int64_t ld, int64_t rows, int64_t depth, __m512i r[16]) {
    const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22,
                                                6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __mmask16 mask = __mmask16(first_bits(rows));
    auto row = [&](int64_t k) {
        return k < depth ? _mm256_maskz_loadu_epi16(mask, src + k * ld) : _mm256_setzero_si256();
    };
    for (int i = 0; i < 16; i++) {
        __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(row(2 * i)), row(2 * i + 1), 1);
        r[i] = _mm512_permutexvar_epi16(interleave, both);
    }
}

// Packs the steps of one panel of 32 rows over all of k. `by_row`: k runs along memory, element (row, k) at
// src[row*ld + k]; else at src[k*ld + row]. `pairs`: in B's layout, else in A's.
inline void pack_tile_panel(const bf16* src, int64_t ld, bool by_row, bool pairs, int64_t rows, int64_t depth,
                            bf16* dst) {
    for (int64_t k = 0; k < depth; k += kStepDepth)
        for (int64_t h = 0; h < kStepRows; h += kTileRows, dst += kTileSize) {
            __m512i r[16];
            int64_t rows_left = std::max<int64_t>(0, rows - h);
            if (by_row)
                load_tile_rows(src + h * ld + k, ld, rows_left, depth - k, r);
            else
                load_tile_pairs(src + k * ld + h, ld, rows_left, depth - k, r);
            if (by_row == pairs) transpose16(r);
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(dst + i * kStepDepth, r[i]);
        }
}

}  // namespace stepd::STEPD_ISA
