// Box-Muller on groups of 16 uniforms. The float32 version repeats the arithmetic of torch's 8-lane AVX2 kernel,
// operation by operation: the logarithm, sine and cosine are the single-precision polynomials of the Cephes library
// (Moshier) in the order of evaluation of avx_mathfun, where std::fma stands for one fused multiply-add and every other
// operation rounds on its own. Any compiler or instruction set that keeps to IEEE arithmetic gives the same bits.
#include <bit>
#include <cmath>
#include <numbers>

#include "io/random.h"

namespace stepd::detail {
namespace {

constexpr int kLanes = 8;

// A select on the bits: float comparisons with ?: may not be turned into branchless code by every compiler.
inline float select(bool condition, float a, float b) {
    uint32_t mask = -uint32_t(condition);
    return std::bit_cast<float>((std::bit_cast<uint32_t>(a) & mask) | (std::bit_cast<uint32_t>(b) & ~mask));
}

inline float flip_sign(float v, uint32_t sign) { return std::bit_cast<float>(std::bit_cast<uint32_t>(v) ^ sign); }

// x in (0, 1]; no special values are handled because uniforms cannot produce them.
[[gnu::always_inline]] inline float log_f32(float x) {
    int32_t bits = std::bit_cast<int32_t>(x);
    float e = float((bits >> 23) - 0x7f) + 1.0f;
    x = std::bit_cast<float>((bits & ~0x7f800000) | 0x3f000000);
    bool low = x < 0.707106781186547524f;
    float extra = select(low, x, 0.0f);
    x = (x - 1.0f) + extra;
    e -= select(low, 1.0f, 0.0f);
    float z = x * x;
    float y = 7.0376836292E-2f;
    y = std::fma(y, x, -1.1514610310E-1f);
    y = std::fma(y, x, 1.1676998740E-1f);
    y = std::fma(y, x, -1.2420140846E-1f);
    y = std::fma(y, x, 1.4249322787E-1f);
    y = std::fma(y, x, -1.6668057665E-1f);
    y = std::fma(y, x, 2.0000714765E-1f);
    y = std::fma(y, x, -2.4999993993E-1f);
    y = std::fma(y, x, 3.3333331174E-1f);
    y = std::fma(y * x, z, e * -2.12194440e-4f);
    y = std::fma(z, -0.5f, y);
    return std::fma(e, 0.693359375f, x + y);
}

// x in [0, 2*pi).
[[gnu::always_inline]] inline void sincos_f32(float x, float& sine, float& cosine) {
    int32_t octant = (int32_t(x * 1.27323954473516f) + 1) & ~1;
    float y = float(octant);
    x = std::fma(y, -0.78515625f, x);
    x = std::fma(y, -2.4187564849853515625e-4f, x);
    x = std::fma(y, -3.77489497744594108e-8f, x);
    float z = x * x;
    float c = std::fma(2.443315711809948E-5f, z, -1.388731625493765E-3f);
    c = std::fma(c, z, 4.166664568298827E-2f) * z;
    c = std::fma(c, z, -(z * 0.5f)) + 1.0f;
    float s = std::fma(-1.9515295891E-4f, z, 8.3321608736E-3f);
    s = std::fma(s, z, -1.6666654611E-1f) * z;
    s = std::fma(s, x, x);
    bool swap = (octant & 2) != 0;
    sine = flip_sign(select(swap, c, s), uint32_t(octant & 4) << 29);
    cosine = flip_sign(select(swap, s, c), uint32_t(~(octant - 2) & 4) << 29);
}

// The last addition is torch's "* std + mean" with std 1 and mean 0; it turns -0 into +0.
[[gnu::always_inline]] inline void box_muller_body(float* values, int64_t groups) {
    constexpr float two_pi = float(2.0 * std::numbers::pi);
    for (int64_t g = 0; g < groups; g++, values += 2 * kLanes) {
        float u1[kLanes], u2[kLanes];
        for (int j = 0; j < kLanes; j++) u1[j] = 1.0f - values[j];
        for (int j = 0; j < kLanes; j++) u2[j] = values[j + kLanes];
        for (int j = 0; j < kLanes; j++) {
            float radius = std::sqrt(-2.0f * log_f32(u1[j]));
            float sine, cosine;
            sincos_f32(two_pi * u2[j], sine, cosine);
            values[j] = radius * cosine + 0.0f;
            values[j + kLanes] = radius * sine + 0.0f;
        }
    }
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void box_muller_avx2(float* values, int64_t groups) { box_muller_body(values, groups); }
#endif

}  // namespace

void box_muller_portable(float* values, int64_t groups) { box_muller_body(values, groups); }

void box_muller(float* values, int64_t groups) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return box_muller_avx2(values, groups);
#endif
    box_muller_portable(values, groups);
}

void box_muller(double* values, int64_t groups) {
    for (int64_t g = 0; g < groups; g++, values += 2 * kLanes) {
        for (int j = 0; j < kLanes; j++) {
            double radius = std::sqrt(-2.0 * std::log(1.0 - values[j]));
            double theta = 2.0 * std::numbers::pi * values[j + kLanes];
            values[j] = radius * std::cos(theta) + 0.0;
            values[j + kLanes] = radius * std::sin(theta) + 0.0;
        }
    }
}

}  // namespace stepd::detail
