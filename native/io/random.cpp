#include "io/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/error.h"

namespace stepd {
namespace {

constexpr int kGroup = 16;  // normals are made from groups of 16 uniforms

uint32_t twist(uint32_t high, uint32_t low) {
    uint32_t y = (high & 0x80000000u) | (low & 0x7fffffffu);
    return (y >> 1) ^ ((y & 1) ? 0x9908b0dfu : 0u);
}

}  // namespace

Generator::Generator(uint64_t seed) {
    state_[0] = uint32_t(seed);
    for (int i = 1; i < kStateSize; i++) {
        state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + uint32_t(i);
    }
}

void Generator::refill() {
    constexpr int n = kStateSize, m = 397;
    uint32_t* s = state_.data();
    for (int k = 0; k < n - m; k++) s[k] = s[k + m] ^ twist(s[k], s[k + 1]);
    for (int k = n - m; k < n - 1; k++) s[k] = s[k + m - n] ^ twist(s[k], s[k + 1]);
    s[n - 1] = s[m - 1] ^ twist(s[n - 1], s[0]);
    for (int k = 0; k < n; k++) {
        uint32_t y = s[k];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680u;
        y ^= (y << 15) & 0xefc60000u;
        words_[k] = y ^ (y >> 18);
    }
    used_ = 0;
}

uint32_t Generator::next_u32() {
    if (used_ == kStateSize) refill();
    return words_[used_++];
}

uint64_t Generator::next_u64() {
    uint64_t high = next_u32();
    return high << 32 | next_u32();
}

void Generator::uniform(float* out, int64_t n) {
    while (n > 0) {
        if (used_ == kStateSize) refill();
        int64_t count = std::min<int64_t>(n, kStateSize - used_);
        for (int64_t i = 0; i < count; i++) out[i] = float(int32_t(words_[used_ + i] & 0xffffff)) * 0x1p-24f;
        used_ += int(count);
        out += count;
        n -= count;
    }
}

void Generator::uniform(double* out, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = double(next_u64() & ((uint64_t(1) << 53) - 1)) * 0x1p-53;
}

void Generator::rand(float* out, int64_t n) { uniform(out, n); }
void Generator::rand(double* out, int64_t n) { uniform(out, n); }

void Generator::rand(bf16* out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float value;
        uniform(&value, 1);
        out[i] = to_bf16(value);
        if (to_float(out[i]) == 1.0f) out[i] = to_bf16(0.0f);
    }
}

double Generator::normal() {
    if (pending_normal_) {
        double value = *pending_normal_;
        pending_normal_.reset();
        return value;
    }
    double u[2];
    uniform(u, 2);
    double radius = std::sqrt(-2.0 * std::log1p(-u[1])), theta = 2.0 * std::numbers::pi * u[0];
    pending_normal_ = radius * std::sin(theta);
    return radius * std::cos(theta);
}

void Generator::randn(float* out, int64_t n) {
    if (n < kGroup) {
        for (int64_t i = 0; i < n; i++) out[i] = float(normal());
        return;
    }
    uniform(out, n);
    detail::box_muller(out, n / kGroup);
    if (n % kGroup == 0) return;
    // The tail is drawn anew over the last 16 positions, finished values included.
    uniform(out + n - kGroup, kGroup);
    detail::box_muller(out + n - kGroup, 1);
}

void Generator::randn(double* out, int64_t n) {
    if (n < kGroup) {
        for (int64_t i = 0; i < n; i++) out[i] = normal();
        return;
    }
    uniform(out, n);
    detail::box_muller(out, n / kGroup);
    if (n % kGroup == 0) return;
    uniform(out + n - kGroup, kGroup);
    detail::box_muller(out + n - kGroup, 1);
}

void Generator::randn(bf16* out, int64_t n) {
    if (n < kGroup) {
        for (int64_t i = 0; i < n; i++) out[i] = to_bf16(float(normal()));
        return;
    }
    // Unlike float32, the uniforms of an incomplete last group are never drawn.
    auto fill = [this](bf16* to) {
        float group[kGroup];
        uniform(group, kGroup);
        detail::box_muller(group, 1);
        std::transform(group, group + kGroup, to, [](float v) { return to_bf16(v); });
    };
    for (int64_t i = 0; i + kGroup <= n; i += kGroup) fill(out + i);
    if (n % kGroup) fill(out + n - kGroup);
}

void Generator::randint(int64_t low, int64_t high, int64_t* out, int64_t n) {
    STEPD_REQUIRE(low < high, Code::invalid, "randint: the range from ", low, " to ", high, " is empty");
    uint64_t range = uint64_t(high) - uint64_t(low);
    // torch takes 64 random bits where the bias of 32 would pass about 5 %.
    bool wide = range >= uint64_t(1) << 28;
    for (int64_t i = 0; i < n; i++) {
        uint64_t draw = wide ? next_u64() : next_u32();
        out[i] = int64_t(draw % range + uint64_t(low));
    }
}

std::vector<int64_t> Generator::randperm(int64_t n) {
    STEPD_REQUIRE(n >= 0 && n < int64_t(1) << 32, Code::invalid, "randperm: ", n, " elements, must be below 2^32");
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = 0; i + 1 < n; i++) {
        int64_t other = i + int64_t(next_u32() % uint64_t(n - i));
        std::swap(order[i], order[other]);
    }
    return order;
}

std::vector<float> Generator::rand(int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    rand(out.data(), n);
    return out;
}

std::vector<float> Generator::randn(int64_t n) {
    std::vector<float> out(static_cast<size_t>(n));
    randn(out.data(), n);
    return out;
}

std::vector<int64_t> Generator::randint(int64_t low, int64_t high, int64_t n) {
    std::vector<int64_t> out(static_cast<size_t>(n));
    randint(low, high, out.data(), n);
    return out;
}

}  // namespace stepd
