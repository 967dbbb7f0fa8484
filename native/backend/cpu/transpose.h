// Transposition of a W x W block in registers.
#pragma once

#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

#if defined(__AVX512F__)

// Each step exchanges the halves of ever larger groups of lanes between two rows.
inline void transpose(Vec (&r)[16]) {
    __m512 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
        t[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
    }
    __m512 u[16];
    auto pair = [](__m512 x) { return _mm512_castps_pd(x); };
    for (int i = 0; i < 16; i += 4) {
        for (int j = 0; j < 2; j++) {
            u[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(t[i + j]), pair(t[i + j + 2])));
            u[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(t[i + j]), pair(t[i + j + 2])));
        }
    }
    for (int i = 0; i < 16; i += 8) {
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_f32x4(u[i + j], u[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_f32x4(u[i + j], u[i + j + 4], 0xdd);
        }
    }
    for (int j = 0; j < 8; j++) {
        r[j].v = _mm512_shuffle_f32x4(t[j], t[j + 8], 0x88);
        r[j + 8].v = _mm512_shuffle_f32x4(t[j], t[j + 8], 0xdd);
    }
}

#else

inline void transpose(Vec (&r)[8]) {
    __m256 t[8], u[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
        t[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
    }
    for (int i = 0; i < 8; i += 4) {
        for (int j = 0; j < 2; j++) {
            u[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
            u[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
        }
    }
    for (int j = 0; j < 4; j++) {
        r[j].v = _mm256_permute2f128_ps(u[j], u[j + 4], 0x20);
        r[j + 4].v = _mm256_permute2f128_ps(u[j], u[j + 4], 0x31);
    }
}

#endif

}  // namespace stepd::STEPD_ISA
