// Vectors of float32 for the instruction set that this translation unit is compiled for. Everything under backend/cpu
// is compiled once per instruction set, inside namespace stepd::STEPD_ISA; CMake defines STEPD_ISA and the flags.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "base/tensor.h"

#ifndef STEPD_ISA
#error "compile files of backend/cpu through CMake: STEPD_ISA is not defined"
#endif

namespace stepd::STEPD_ISA {

#if defined(__AVX512F__)

struct Vec {
    static constexpr int width = 16;
    __m512 v;
};
inline Vec set1(float x) { return {_mm512_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
inline Vec load(const bf16* p) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
inline void store(bf16* p, Vec x) {  // round to nearest even; NaN stays NaN
    const __m512i upper_halves = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 31, 29, 27,
                                                  25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    __m512i u = _mm512_castps_si512(x.v);
    __mmask16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
    __m512i half = _mm512_mask_blend_epi32(odd, _mm512_set1_epi32(0x7fff), _mm512_set1_epi32(0x8000));
    __mmask16 number = _mm512_cmp_ps_mask(x.v, x.v, _CMP_ORD_Q);
    __m512i r = _mm512_mask_add_epi32(_mm512_set1_epi32(0x7fc00000), number, u, half);
    _mm256_storeu_si256((__m256i*)p, _mm512_castsi512_si256(_mm512_permutexvar_epi16(upper_halves, r)));
}
inline Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec scalef(Vec a, Vec n) { return {_mm512_scalef_ps(a.v, n.v)}; }  // a * 2^n, n integral
inline Vec reciprocal(Vec a) {  // of a finite number, to about 1 ulp; a division costs four times as much
    __m512 estimate = _mm512_rcp14_ps(a.v);
    __m512 error = _mm512_fnmadd_ps(a.v, estimate, _mm512_set1_ps(1.f));
    return {_mm512_fmadd_ps(estimate, error, estimate)};
}

#elif defined(__AVX2__)

struct Vec {
    static constexpr int width = 8;
    __m256 v;
};
inline Vec set1(float x) { return {_mm256_set1_ps(x)}; }
inline Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x.v); }
inline Vec load(const bf16* p) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16))};
}
inline void store(bf16* p, Vec x) {
    __m256i u = _mm256_castps_si256(x.v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7fc0), nan);
    _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1)));
}
inline Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
inline Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline Vec reciprocal(Vec a) { return {_mm256_div_ps(_mm256_set1_ps(1.f), a.v)}; }
inline Vec scalef(Vec a, Vec n) {  // two halves, so that 2^-126 .. 2^-149 results do not wrap
    __m256i i = _mm256_cvtps_epi32(n.v);
    __m256i h = _mm256_srai_epi32(i, 1);
    auto pow2 = [](__m256i e) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
    };
    return {_mm256_mul_ps(_mm256_mul_ps(a.v, pow2(h)), pow2(_mm256_sub_epi32(i, h)))};
}

#else
#error "backend/cpu needs AVX2 with FMA or AVX-512"
#endif

constexpr int W = Vec::width;

inline Vec& operator+=(Vec& a, Vec b) { return a = a + b; }

// Partial loads and stores of the first n < W elements; the rest reads as zero.
template <class T>
inline Vec load_part(const T* p, int n) {
    T tmp[W] = {};
    for (int i = 0; i < n; i++) tmp[i] = p[i];
    return load(tmp);
}
template <class T>
inline void store_part(T* p, Vec x, int n) {
    T tmp[W];
    store(tmp, x);
    for (int i = 0; i < n; i++) p[i] = tmp[i];
}

// Sum and maximum over the lanes, in a fixed order.
inline float sum(Vec x) {
    float t[W];
    store(t, x);
    for (int step = W / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++) t[i] += t[i + step];
    return t[0];
}
inline float maximum(Vec x) {
    float t[W];
    store(t, x);
    float m = t[0];
    for (int i = 1; i < W; i++) m = t[i] > m ? t[i] : m;
    return m;
}

// e^x to about 1 ulp of float32 (Cephes polynomial) for -104 <= x <= 89.
inline Vec exp_in_range(Vec x) {
    Vec n = round(x * set1(1.44269504088896341f));
    Vec r = fma(n, set1(-0.693359375f), x);
    r = fma(n, set1(2.12194440e-4f), r);
    Vec p = set1(1.9875691500e-4f);
    p = fma(p, r, set1(1.3981999507e-3f));
    p = fma(p, r, set1(8.3334519073e-3f));
    p = fma(p, r, set1(4.1665795894e-2f));
    p = fma(p, r, set1(1.6666665459e-1f));
    p = fma(p, r, set1(5.0000001201e-1f));
    p = fma(p * r, r, r) + set1(1.f);
    return scalef(p, n);
}

// x between low and high; NaN stays NaN, because min and max return their second operand then.
inline Vec clamp(Vec x, float low, float high) { return max(set1(low), min(set1(high), x)); }

// e^x, flushing to 0 below -104 and to inf above 89.
inline Vec exp(Vec x) { return exp_in_range(clamp(x, -104.f, 89.f)); }

// 1 / (1 + e^x) to about 1 ulp. Between the bounds neither e^x nor the result is subnormal: such numbers take hundreds
// of cycles.
inline Vec logistic_of_negative(Vec x) { return reciprocal(exp_in_range(clamp(x, -87.f, 87.f)) + set1(1.f)); }
inline Vec sigmoid(Vec x) { return logistic_of_negative(set1(0.f) - x); }

// gelu, tanh approximation, and its derivative: 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3).
constexpr float kGelu1 = 2 * 0.7978845608028654f, kGelu3 = kGelu1 * 0.044715f;
inline Vec gelu(Vec x) { return x * logistic_of_negative(x * fma(set1(-kGelu3), x * x, set1(-kGelu1))); }
inline Vec gelu_derivative(Vec x) {
    Vec x2 = x * x;
    Vec s = logistic_of_negative(x * fma(set1(-kGelu3), x2, set1(-kGelu1)));
    Vec slope = fma(set1(3 * kGelu3), x2, set1(kGelu1));  // of 2u
    return fma(x * slope, s * (set1(1.f) - s), s);
}

}  // namespace stepd::STEPD_ISA
