// The random-number contract of a training run, as far as the core draws (the order of samples, crops and flips are in
// package sessions/dataset): every draw follows from the run's seed S and the index k of the micro-batch, counted over
// the whole run and never reset, so no generator state is saved and a run can be resumed, split over ranks or repeated
// in PyTorch. All seeds are computed on unsigned 64-bit integers, then modulo 2^63.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "io/random.h"

namespace stepd {

// Seed of the draws of micro-batch k.
uint64_t micro_batch_seed(uint64_t seed, uint64_t k);
// Seed of the adapter dropout masks of micro-batch k; one generator walks the layers in the order of the module list.
uint64_t adapter_dropout_seed(uint64_t seed, uint64_t k);
// Seed of the noise of picture n of an evaluation.
uint64_t evaluation_seed(uint64_t seed, uint64_t n);
// Seed of the initial adapter weights; one generator walks the modules in the model's order.
uint64_t adapter_init_seed(uint64_t seed);
// Key of the counter generator that rounds the weights of one parameter in one optimizer step (optim/optimizer.h). A
// pure function, so rounding depends on neither threads nor resumes; a single change of any argument changes about half
// the bits.
uint64_t rounding_key(uint64_t seed, uint64_t optimizer_step, uint64_t parameter);

// How the timesteps of a micro-batch are drawn.
enum class TimestepDraw {
    integers,  // randint(0, timesteps, (B,)): discrete schedules
    normal,    // randn(B): the u of a logit-normal, before sigmoid and shift
    uniform,   // rand(B)
};

struct DrawOptions {
    Shape latents;                // [B, C, h, w]
    bool sample_latents = false;  // latents are sampled from the encoder's moments
    TimestepDraw timestep = TimestepDraw::integers;
    int64_t timesteps = 1000;   // range of TimestepDraw::integers
    int dropouts = 0;           // dropout-like choices the job enables: caption dropout, conditioning dropout, ..
    bool noise_offset = false;  // one more normal for each sample and channel
    bool offset_share = false;  // one more number that decides whether the micro-batch has its noise offset, drawn last
};

struct Draws {
    std::vector<float> latent_noise;           // eps [B, C, h, w], empty unless sample_latents
    std::vector<int64_t> timesteps;            // [B], for TimestepDraw::integers
    std::vector<float> u;                      // [B], for TimestepDraw::normal and uniform
    std::vector<float> noise;                  // [B, C, h, w]
    std::vector<std::vector<float>> dropouts;  // per choice rand [B]
    std::vector<float> offset;                 // [B, C], empty unless noise_offset
    float offset_share = 0;                    // rand(1), 0 unless offset_share
};

// The draws of micro-batch k in the contract's order: latent noise, timesteps, noise, dropouts, offset and its share.
Draws draw_micro_batch(uint64_t seed, uint64_t k, const DrawOptions& options);

}  // namespace stepd
