// Runs optimizer steps of a denoiser on micro-batches that are ready: plans, gradients, clipping, optimizer, average.
// Knows nothing of files or captions; Session feeds it, and so do benchmarks.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "optim/ema.h"
#include "optim/sweep.h"
#include "train/graphs.h"
#include "train/parameters.h"

namespace stepd {

// Memory for what a micro-batch feeds into the training graph; the names are those of namespace port.
struct TrainingInputs {
    TrainingInputs(const Bucket& bucket, int64_t channels, int64_t text_width, DType text_dtype);
    Bucket bucket;
    std::vector<float> latents, target;                 // [B,C,h,w]
    std::vector<float> timestep, weight, huber_c;       // [B]
    std::vector<float> text_bias;                       // [B,T]
    Slab text;                                          // one tensor [B,T,W]
    float loss_scale = 1;                               // d(objective)/d(loss of this micro-batch)
    std::map<std::string, std::vector<float>> dropout;  // adapter dropout masks by module path, set by the trainer
};

// Binds what every graph of losses reads to the memory of `inputs`.
void bind_loss_inputs(Executor& executor, TrainingInputs& inputs);
// Binds the parameters of a graph to the store. average: trained ones to their averages.
void bind_weights(Executor& executor, ParameterStore& store, bool average = false);

struct TrainerOptions {
    LossKind loss = LossKind::l2;
    double clip_norm = 0, clip_value = 0;  // 0: off
    bool average = false;
    EmaOptions ema;
    uint64_t seed = 0;
    int64_t accumulation = 1;   // largest number of micro-batches of a step
    int64_t arena_budget = -1;  // bytes for activations, which are recomputed beyond it; < 0: keep everything
    int64_t arena_limit = -1;   // bytes that a plan may not exceed; < 0: none
};

struct StepReport {
    double grad_norm = 0;  // before clipping
};

class Trainer {
public:
    // Weights are zero until someone fills store(). Everything referenced must outlive the trainer.
    Trainer(const DenoiserGraphs& graphs, const OptimizerMethod& method, std::vector<double> settings,
            const TrainerOptions& options, Backend& backend);
    ~Trainer();

    ParameterStore& store() { return store_; }
    const DenoiserGraphs& graphs() const { return graphs_; }
    int64_t step() const { return step_; }
    void set_step(int64_t step) { step_ = step; }

    // Makes plans and memory for these buckets ready. Throws Code::out_of_memory when a plan needs more for
    // activations than TrainerOptions::arena_limit; the trainer stays usable.
    void prepare(std::span<const Bucket> buckets);
    // The arena, with at least so many bytes, for another graph of this bucket; it stays valid until the trainer is
    // used again. Throws Code::out_of_memory as prepare does.
    Buffer& arena(const Bucket& bucket, int64_t bytes);
    // Gives the arena back; the next micro-batch allocates it again.
    void release_arena();

    // Where the next micro-batch of this bucket goes.
    TrainingInputs& inputs(const Bucket& bucket);
    // Forward and backward pass of what inputs(bucket) holds; returns its loss. The first micro-batch of a step starts
    // the gradients anew, others add to them.
    double accumulate(const Bucket& bucket, bool first);
    // Clips and applies the gradients. Throws Code::numeric naming step and parameter when one is not finite; then
    // nothing has changed.
    StepReport apply(double lr);

    Executor& executor(const Bucket& bucket);

private:
    struct Pass;
    struct Slot;
    Slot& slot(const Bucket& bucket);
    Plan plan(const Bucket& bucket, bool adding) const;
    void bind(Slot& slot, Pass& pass);
    void reserve(int64_t bytes);
    void require_room(const Bucket& bucket, int64_t bytes) const;

    DenoiserGraphs graphs_;
    const OptimizerMethod& method_;
    std::vector<double> settings_;
    TrainerOptions options_;
    Backend& backend_;
    ParameterStore store_;
    std::unique_ptr<Sweep> sweep_;
    Buffer arena_;
    std::map<Bucket, std::unique_ptr<Slot>> slots_;
    int64_t step_ = 0;  // steps applied
};

}  // namespace stepd
