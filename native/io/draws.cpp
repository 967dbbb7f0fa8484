#include "io/draws.h"

#include "base/error.h"

namespace stepd {
namespace {

constexpr uint64_t kMask = (uint64_t(1) << 63) - 1;
constexpr uint64_t kGolden = 2654435769;  // 2^32 divided by the golden ratio: keeps the streams of two purposes apart

// Finaliser of SplitMix64 (Steele, Lea, Flood 2014, constants of variant 13 by D. Stafford): a bijection of 64 bits.
uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

}  // namespace

uint64_t micro_batch_seed(uint64_t seed, uint64_t k) { return (seed * 1000003 + k) & kMask; }
uint64_t adapter_dropout_seed(uint64_t seed, uint64_t k) { return (seed * 1000003 + k + kGolden) & kMask; }
uint64_t evaluation_seed(uint64_t seed, uint64_t n) { return (seed * 1000003 + n + 2 * kGolden) & kMask; }
uint64_t adapter_init_seed(uint64_t seed) { return seed & kMask; }

uint64_t rounding_key(uint64_t seed, uint64_t optimizer_step, uint64_t parameter) {
    constexpr uint64_t increment = 0x9e3779b97f4a7c15;  // keeps small arguments away from the fixed point 0 of mix
    uint64_t key = mix(seed + increment);
    key = mix(key + optimizer_step + increment);
    return mix(key + parameter + increment);
}

Draws draw_micro_batch(uint64_t seed, uint64_t k, const DrawOptions& options) {
    STEPD_REQUIRE(!options.latents.empty(), Code::invalid, "draws of micro-batch ", k, ": no latent shape");
    Generator generator(micro_batch_seed(seed, k));
    int64_t batch = options.latents[0], elements = numel(options.latents);
    Draws draws;
    if (options.sample_latents) draws.latent_noise = generator.randn(elements);
    switch (options.timestep) {
        case TimestepDraw::integers:
            draws.timesteps = generator.randint(0, options.timesteps, batch);
            break;
        case TimestepDraw::normal:
            draws.u = generator.randn(batch);
            break;
        case TimestepDraw::uniform:
            draws.u = generator.rand(batch);
            break;
    }
    draws.noise = generator.randn(elements);
    for (int i = 0; i < options.dropouts; i++) draws.dropouts.push_back(generator.rand(batch));
    if (options.noise_offset) draws.offset = generator.randn(batch * options.latents.at(1));
    if (options.offset_share) draws.offset_share = generator.rand(1)[0];
    return draws;
}

}  // namespace stepd
