// What a session needs, in bytes, before anything is allocated, and what there is.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "optim/optimizer.h"
#include "train/graphs.h"
#include "train/model.h"
#include "train/parameters.h"

namespace stepd {

// Bytes that this process can still allocate: what the machine has available, or less inside a control group.
int64_t available_memory();
// Throws Code::out_of_memory when a picture's working memory is more than the budget leaves, or without a budget more
// than is available; before the system would end the process for it.
void require_picture_fits(const Model& model, const SessionConfig& config, const DenoiserGraphs& graphs,
                          const Bucket& bucket);

// One bucket of the data, in pixels.
struct PixelShape {
    int64_t width = 0, height = 0, text_tokens = 0, batch = 1;
    bool evaluation = false;  // its loss is computed without training on it
};

struct MemoryPlan {  // engine.Plan
    int64_t weights = 0, gradients = 0, optimizer = 0, ema = 0, activations = 0, encoders = 0, workspace = 0;
    int64_t total = 0;  // peak: what stays, and the larger of the training's arena and the encoders
    int64_t available = 0;
    double flop = 0;     // of one optimizer step, in the largest bucket
    double seconds = 0;  // estimate
    int64_t recomputed = 0, trainable = 0, parameters = 0;
    bool fits = false;

    int64_t state() const { return weights + gradients + optimizer + ema + workspace; }
};
nlohmann::json to_json(const MemoryPlan& plan);

// The part of a plan that does not depend on shapes.
MemoryPlan plan_state(const ParameterLayout& layout, const SessionConfig& config);

// threads: of the machine that will run it. cancellation: null, or what may stop the planning (Code::cancelled).
MemoryPlan plan_memory(const Model& model, const SessionConfig& config, const std::vector<PixelShape>& shapes,
                       int threads, const Cancellation* cancellation = nullptr);

// Throws Code::out_of_memory with all sizes and remedies when the plan does not fit.
void require_fit(const MemoryPlan& plan);

// Bytes for activations that make_plan may use (PlanOptions::arena_budget).
int64_t arena_budget(const MemoryPlan& plan, const SessionConfig& config);

// How parameters are stored: frozen ones in the compute dtype, trained ones in config.weight_dtype.
ParameterLayout make_layout(const Model& model, const SessionConfig& config);

}  // namespace stepd
