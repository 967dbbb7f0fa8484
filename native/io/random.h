// PyTorch's CPU random-number generator, bit for bit, so that a run can be repeated in PyTorch from its seed alone.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/tensor.h"

namespace stepd {

// The stream of torch.Generator('cpu').manual_seed(seed): mt19937 seeded with the low 32 bits of the seed.
// Every method consumes the stream exactly as the torch call named in its comment; n is the number of elements.
// Not safe for concurrent use.
class Generator {
public:
    explicit Generator(uint64_t seed);

    uint32_t next_u32();
    uint64_t next_u64();  // two draws, the high half first

    // torch.rand: [0, 1). float32 has 24 random bits, float64 53; bfloat16 is the float32 value rounded, 1.0 becoming
    // 0.0.
    void rand(float* out, int64_t n);
    void rand(double* out, int64_t n);
    void rand(bf16* out, int64_t n);

    // torch.randn on a contiguous tensor. Fewer than 16 elements and 16 or more are different algorithms, as in torch:
    // the first takes polar pairs in double and keeps an unused sine half for the next such call.
    // float32 follows torch's AVX2 kernel, which is what x86-64 PyTorch runs.
    void randn(float* out, int64_t n);
    void randn(double* out, int64_t n);
    void randn(bf16* out, int64_t n);

    // torch.randint(low, high, (n,)), int64.
    void randint(int64_t low, int64_t high, int64_t* out, int64_t n);

    // torch.randperm(n). n below 2^32.
    std::vector<int64_t> randperm(int64_t n);

    std::vector<float> rand(int64_t n);
    std::vector<float> randn(int64_t n);
    std::vector<int64_t> randint(int64_t low, int64_t high, int64_t n);

private:
    static constexpr int kStateSize = 624;

    void refill();
    void uniform(float* out, int64_t n);
    void uniform(double* out, int64_t n);
    double normal();

    std::array<uint32_t, kStateSize> state_;
    std::array<uint32_t, kStateSize> words_;  // the tempered outputs of state_
    int used_ = kStateSize;
    std::optional<double> pending_normal_;
};

namespace detail {
// Box-Muller in place on groups of 16 uniforms: values j and j+8 of a group (j < 8) become a pair of normals.
void box_muller(float* values, int64_t groups);
void box_muller(double* values, int64_t groups);
// What box_muller does on a machine without AVX2 and FMA; the results are the same.
void box_muller_portable(float* values, int64_t groups);
}  // namespace detail

}  // namespace stepd
