// The graphs of a denoiser: one training step of a micro-batch, the loss of one alone, and one prediction for sampling.
#pragma once

#include "graph/graph.h"
#include "models/family.h"
#include "train/parameters.h"

namespace stepd {

// Inputs of all graphs: latents [B,C,h,w] f32, timestep [B] f32, text [B,T,W] in the compute dtype, text_bias [B,T]
// f32. The graphs of losses also take target [B,C,h,w] f32, weight [B] f32 and huber_c [B] f32, and yield loss [1] f32;
// the training graph takes loss_scale [1] f32 as well, and yields the gradients. The sampling graph yields prediction
// [B,C,h,w] f32.
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
    // The loss of the training graph without gradients and without adapter dropout.
    Graph record_evaluation(const Bucket& bucket, LossKind kind) const;
    // average: trained parameters are read from their f32 averages.
    Graph record_sampling(const Bucket& bucket, bool average) const;

private:
    ValueId record_prediction(Builder& b, const Adapter* applied, const Bucket& bucket) const;
    ValueId record_loss(Builder& b, const Adapter* applied, const Bucket& bucket, LossKind kind) const;
    ParameterInfo frozen(const std::string& name, bool average) const;
};

}  // namespace stepd
