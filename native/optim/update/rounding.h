// Storing f32 results: as they are, or stochastically rounded to bf16. Rounding to nearest would lose every update
// smaller than 1/512 of a weight; stochastic rounding keeps it in expectation. The random bits come from a counter
// generator keyed by (seed, step, parameter) and the element, so that they depend on neither threads nor resumes.
#pragma once

#include "backend/cpu/simd.h"

namespace stepd::STEPD_ISA {

#if defined(__AVX512F__)

struct Bits {
    __m512i v;
};
inline Bits bits1(uint32_t x) { return {_mm512_set1_epi32(int32_t(x))}; }
inline Bits lane_numbers() { return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}; }
inline Bits operator+(Bits a, Bits b) { return {_mm512_add_epi32(a.v, b.v)}; }
inline Bits operator*(Bits a, Bits b) { return {_mm512_mullo_epi32(a.v, b.v)}; }
inline Bits operator^(Bits a, Bits b) { return {_mm512_xor_si512(a.v, b.v)}; }
inline Bits operator&(Bits a, Bits b) { return {_mm512_and_si512(a.v, b.v)}; }
template <int n>
inline Bits shift_right(Bits a) {
    return {_mm512_srli_epi32(a.v, n)};
}
// Adds 16 random bits below the last kept one and cuts; NaN stays NaN, infinity stays infinity.
inline void store_rounded(bf16* p, Vec x, Bits random16) {
    __m512i r = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(x.v), random16.v), 16);
    r = _mm512_mask_mov_epi32(r, _mm512_cmp_ps_mask(x.v, x.v, _CMP_UNORD_Q), _mm512_set1_epi32(0x7fc0));
    _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi32_epi16(r));
}

#else

struct Bits {
    __m256i v;
};
inline Bits bits1(uint32_t x) { return {_mm256_set1_epi32(int32_t(x))}; }
inline Bits lane_numbers() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
inline Bits operator+(Bits a, Bits b) { return {_mm256_add_epi32(a.v, b.v)}; }
inline Bits operator*(Bits a, Bits b) { return {_mm256_mullo_epi32(a.v, b.v)}; }
inline Bits operator^(Bits a, Bits b) { return {_mm256_xor_si256(a.v, b.v)}; }
inline Bits operator&(Bits a, Bits b) { return {_mm256_and_si256(a.v, b.v)}; }
template <int n>
inline Bits shift_right(Bits a) {
    return {_mm256_srli_epi32(a.v, n)};
}
inline void store_rounded(bf16* p, Vec x, Bits random16) {
    __m256i r = _mm256_srli_epi32(_mm256_add_epi32(_mm256_castps_si256(x.v), random16.v), 16);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x.v, x.v, _CMP_UNORD_Q));
    r = _mm256_blendv_epi8(r, _mm256_set1_epi32(0x7fc0), nan);
    _mm_storeu_si128((__m128i*)p, _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1)));
}

#endif

inline void store_rounded(float* p, Vec x, Bits) { store(p, x); }

// Invertible 32-bit mixing function ("lowbias32" of C. Wellons' hash-prospector).
inline Bits mix(Bits x) {
    x = (x ^ shift_right<16>(x)) * bits1(0x7feb352d);
    x = (x ^ shift_right<15>(x)) * bits1(0x846ca68b);
    return x ^ shift_right<16>(x);
}

// Three 16-bit numbers for each of W consecutive elements, none of which crosses a multiple of 2^32. The low half of
// the key only shifts the counter, so the high half enters before anything is given out: otherwise two steps or
// parameters would read shifted windows of one sequence.
struct RandomBits {
    Bits a, b, c;
};
inline RandomBits random_bits(uint64_t key, int64_t element) {
    constexpr uint32_t golden = 0x9e3779b9;  // 2^32 divided by the golden ratio
    const uint32_t high = uint32_t(key >> 32) + golden * uint32_t(uint64_t(element) >> 32);
    Bits counter = lane_numbers() + bits1(uint32_t(element) + uint32_t(key));
    Bits first = mix(mix(counter) + bits1(high));
    Bits second = mix(first + bits1(golden));
    return {shift_right<16>(first), first & bits1(0xffff), shift_right<16>(second)};
}

}  // namespace stepd::STEPD_ISA
