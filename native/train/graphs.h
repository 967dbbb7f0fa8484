// The graphs of a denoiser: one training step of a micro-batch, and one prediction for sampling.
#pragma once

#include "graph/graph.h"
#include "models/family.h"
#include "train/parameters.h"

namespace stepd {

// Inputs of both graphs: latents [B,C,h,w] f32, timestep [B] f32, text [B,T,W] in the compute dtype, text_bias [B,T]
// f32. The training graph also takes target [B,C,h,w] f32, weight [B] f32, huber_c [B] f32 and loss_scale [1] f32, and
// yields loss [1] f32, and the gradients. The sampling graph yields prediction [B,C,h,w] f32.
namespace port {
inline constexpr const char* latents = "latents";
inline constexpr const char* timestep = "timestep";
inline constexpr const char* text = "text";
inline constexpr const char* text_bias = "text_bias";
inline constexpr const char* target = "target";
inline constexpr const char* weight = "weight";
inline constexpr const char* huber_c = "huber_c";
inline constexpr const char* loss_scale = "loss_scale";
inline constexpr const char* loss = "loss";
inline constexpr const char* prediction = "prediction";
}  // namespace port

// Kinds of op diffusion_loss.
enum class LossKind { l2 = 0, huber = 1, smooth_l1 = 2 };

struct DenoiserGraphs {
    const Denoiser& denoiser;
    const Adapter* adapter;           // null: none
    const Adapter* sampling_adapter;  // the same without dropout
    const ParameterLayout& layout;
    DType compute;

    // Differentiated and rewritten. adding: gradients are added to those of earlier micro-batches
    // (graph/accumulate.h).
    Graph record_training(const Bucket& bucket, LossKind kind, bool adding = false) const;
    // average: trained parameters are read from their f32 averages.
    Graph record_sampling(const Bucket& bucket, bool average) const;

private:
    ValueId record_prediction(Builder& b, const Adapter* applied, const Bucket& bucket) const;
};

}  // namespace stepd
