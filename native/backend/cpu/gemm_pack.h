// Packing of a GEMM operand into panels of P rows, as f32: panel p holds, for k = 0 .. depth-1, the P values of rows
// p*P .. p*P+P-1 side by side. Rows past the end are zero. A "row" is a row of A or a column of B.
#pragma once

#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

// Transposes an 8x8 block of 32-bit lanes.
inline void transpose8(__m256i r[8]) {
    __m256i t[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    __m256i u[8];
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            u[4 * i + 2 * j] = _mm256_unpacklo_epi64(t[4 * i + j], t[4 * i + 2 + j]);
            u[4 * i + 2 * j + 1] = _mm256_unpackhi_epi64(t[4 * i + j], t[4 * i + 2 + j]);
        }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2x128_si256(u[i], u[4 + i], 0x20);
        r[4 + i] = _mm256_permute2x128_si256(u[i], u[4 + i], 0x31);
    }
}

template <int G>
inline void store_group(float* dst, __m256i v) {
    static_assert(G == 4 || G == 8);
    if constexpr (G == 8)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst), v);
    else
        _mm_storeu_si128(reinterpret_cast<__m128i*>(dst), _mm256_castsi256_si128(v));
}

// dst[k*P + row] = src[row*ld + k] for G rows and as many k as one load holds; returns that number.
template <int P, int G>
inline int transpose_group(const float* src, int64_t ld, float* dst) {
    __m256i r[8];
    for (int i = 0; i < 8; i++)
        r[i] = i < G ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i * ld)) : _mm256_setzero_si256();
    transpose8(r);
    for (int k = 0; k < 8; k++) store_group<G>(dst + k * P, r[k]);
    return 8;
}
template <int P, int G>
inline int transpose_group(const bf16* src, int64_t ld, float* dst) {
    __m256i r[8];  // pairs of neighbouring k move as one 32-bit lane
    for (int i = 0; i < 8; i++)
        r[i] = i < G ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i * ld)) : _mm256_setzero_si256();
    transpose8(r);
    const __m256i upper = _mm256_set1_epi32(int(0xffff0000));
    for (int k = 0; k < 8; k++) {
        store_group<G>(dst + 2 * k * P, _mm256_slli_epi32(r[k], 16));
        store_group<G>(dst + (2 * k + 1) * P, _mm256_and_si256(r[k], upper));
    }
    return 16;
}

// Source stored row by row: element (row, k) at src[row*ld + k].
template <int P, class T>
void pack_rows(const T* src, int64_t ld, int64_t rows, int64_t depth, float* dst) {
    constexpr int G = P < 8 ? P : 8;
    constexpr int kStep = int(sizeof(__m256i) / sizeof(T));
    for (int64_t p0 = 0; p0 < rows; p0 += P, dst += P * depth)
        for (int group = 0; group < P; group += G) {
            const T* from = src + (p0 + group) * ld;
            int64_t filled = rows - p0 - group;
            int64_t k = 0;
            if (filled >= G)
                for (; k + kStep <= depth; k += kStep) transpose_group<P, G>(from + k, ld, dst + k * P + group);
            for (; k < depth; k++)
                for (int i = 0; i < G; i++) dst[k * P + group + i] = i < filled ? to_float(from[i * ld + k]) : 0.f;
        }
}

#ifdef __AVX512F__
// dst[p][k][8] for the two panels p that start at row 0 and 8, and two k's: whole cache lines are written.
template <class T>
inline void pack_two_panels(const T* src, int64_t ld, int64_t depth, float* dst) {
    __m512 first = load(src).v, second = load(src + ld).v;
    _mm512_storeu_ps(dst, _mm512_shuffle_f32x4(first, second, 0x44));
    _mm512_storeu_ps(dst + 8 * depth, _mm512_shuffle_f32x4(first, second, 0xee));
}

// As pack_columns(), for an even number of panels of 8 rows, all filled, and an even depth.
template <class T>
void pack_column_pairs(const T* src, int64_t ld, int64_t rows, int64_t depth, float* dst) {
    constexpr int64_t kChunk = 8;
    for (int64_t k0 = 0; k0 < depth; k0 += kChunk)
        for (int64_t p0 = 0; p0 < rows; p0 += 16)
            for (int64_t k = k0; k < depth && k < k0 + kChunk; k += 2)
                pack_two_panels(src + k * ld + p0, ld, depth, dst + p0 * depth + k * 8);
}
#endif

// Source stored k by k: element (row, k) at src[k*ld + row].
template <int P, class T>
void pack_columns(const T* src, int64_t ld, int64_t rows, int64_t depth, float* dst) {
#ifdef __AVX512F__
    if (P == 8 && rows % 16 == 0 && depth % 2 == 0) return pack_column_pairs(src, ld, rows, depth, dst);
#endif
    constexpr int64_t kChunk = 8;  // k's taken at once, so that both reads and writes run over whole cache lines
    for (int64_t k0 = 0; k0 < depth; k0 += kChunk) {
        int64_t k1 = k0 + kChunk < depth ? k0 + kChunk : depth;
        for (int64_t p0 = 0; p0 < rows; p0 += P) {
            float* to = dst + p0 * depth + k0 * P;
            const T* from = src + k0 * ld + p0;
            int64_t filled = rows - p0 < P ? rows - p0 : P;
            for (int64_t k = k0; k < k1; k++, to += P, from += ld) {
                if (filled == P) {
                    if constexpr (P % W == 0)
                        for (int i = 0; i < P; i += W) store(to + i, load(from + i));
                    else
                        for (int i = 0; i < P; i++) to[i] = to_float(from[i]);
                } else {
                    for (int i = 0; i < P; i++) to[i] = i < filled ? to_float(from[i]) : 0.f;
                }
            }
        }
    }
}

}  // namespace stepd::STEPD_ISA
