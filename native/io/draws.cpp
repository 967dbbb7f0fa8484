#include "io/draws.h"

#include <map>

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

uint64_t epoch_seed(uint64_t seed, uint64_t epoch) { return (seed + epoch) & kMask; }
uint64_t micro_batch_seed(uint64_t seed, uint64_t k) { return (seed * 1000003 + k) & kMask; }
uint64_t adapter_dropout_seed(uint64_t seed, uint64_t k) { return (seed * 1000003 + k + kGolden) & kMask; }
uint64_t adapter_init_seed(uint64_t seed) { return seed & kMask; }
uint64_t augmentation_seed(uint64_t seed, uint64_t epoch, uint64_t sample) {
    return (seed * 1000033 + epoch * kGolden + sample) & kMask;
}

uint64_t rounding_key(uint64_t seed, uint64_t optimizer_step, uint64_t parameter) {
    constexpr uint64_t increment = 0x9e3779b97f4a7c15;  // keeps small arguments away from the fixed point 0 of mix
    uint64_t key = mix(seed + increment);
    key = mix(key + optimizer_step + increment);
    return mix(key + parameter + increment);
}

std::vector<int64_t> epoch_order(uint64_t seed, uint64_t epoch, int64_t samples) {
    return Generator(epoch_seed(seed, epoch)).randperm(samples);
}

BatchPlan::BatchPlan(uint64_t seed, std::vector<int64_t> bucket_of, int64_t batch_size)
    : seed_(seed), bucket_of_(std::move(bucket_of)), batch_size_(batch_size) {
    STEPD_REQUIRE(batch_size >= 1, Code::invalid, "batch plan: batch size ", batch_size, " must be at least 1");
    STEPD_REQUIRE(!bucket_of_.empty(), Code::invalid, "batch plan: the dataset has no samples");
    std::map<int64_t, int64_t> sizes;
    for (int64_t bucket : bucket_of_) {
        STEPD_REQUIRE(bucket >= 0, Code::invalid, "batch plan: bucket ", bucket, " must not be negative");
        sizes[bucket]++;
    }
    for (auto [bucket, size] : sizes) per_epoch_ += (size + batch_size_ - 1) / batch_size_;
}

const BatchPlan::MicroBatch& BatchPlan::micro_batch(int64_t k) {
    STEPD_REQUIRE(k >= 0, Code::invalid, "batch plan: micro-batch index ", k, " must not be negative");
    if (k / per_epoch_ != planned_epoch_) plan_epoch(k / per_epoch_);
    return batches_[size_t(k % per_epoch_)];
}

void BatchPlan::plan_epoch(int64_t epoch) {
    std::map<int64_t, MicroBatch> open;
    std::vector<int64_t> opened;  // buckets with an open micro-batch, oldest first
    batches_.clear();
    planned_epoch_ = -1;
    for (int64_t sample : epoch_order(seed_, uint64_t(epoch), int64_t(bucket_of_.size()))) {
        int64_t bucket = bucket_of_[size_t(sample)];
        MicroBatch& batch = open[bucket];
        if (batch.samples.empty()) {
            batch.epoch = epoch;
            batch.bucket = bucket;
            opened.push_back(bucket);
        }
        batch.samples.push_back(sample);
        if (int64_t(batch.samples.size()) < batch_size_) continue;
        batches_.push_back(std::move(batch));
        open.erase(bucket);
        std::erase(opened, bucket);
    }
    for (int64_t bucket : opened) batches_.push_back(std::move(open[bucket]));
    planned_epoch_ = epoch;
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
    return draws;
}

}  // namespace stepd
