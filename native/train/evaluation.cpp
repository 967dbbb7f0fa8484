#include "train/evaluation.h"

#include <cmath>
#include <numeric>

#include "base/error.h"
#include "graph/executor.h"
#include "io/draws.h"
#include "io/random.h"

namespace stepd {

// The graph of a bucket with its inputs, and latents and noise of the batch at hand.
struct Evaluator::Prepared {
    Prepared(const Bucket& bucket, const Denoiser& denoiser, DType compute)
        : inputs(bucket, denoiser.latent_channels(), denoiser.text_width(), compute) {}
    TrainingInputs inputs;
    std::unique_ptr<Executor> executor;
    float loss = 0;
    std::vector<std::vector<float>> clean, noise;  // [C,h,w] of each picture
};

Evaluator::Evaluator(const Model& model, const Objective& objective, int64_t text_tokens, Trainer& trainer,
                     Backend& backend)
    : model_(model),
      objective_(objective),
      data_(*model.denoiser, model.latent_scale, text_tokens),
      trainer_(trainer),
      backend_(backend) {}

Evaluator::~Evaluator() = default;

Evaluator::Prepared& Evaluator::prepare(const Bucket& bucket) {
    if (prepared_ && prepared_->inputs.bucket == bucket) return *prepared_;
    prepared_.reset();
    const DenoiserGraphs& graphs = trainer_.graphs();
    auto p = std::make_unique<Prepared>(bucket, *model_.denoiser, graphs.compute);
    Plan plan = make_plan(graphs.record_evaluation(bucket, objective_.loss_kind()));
    Buffer& arena = trainer_.arena(bucket, plan.report.arena_bytes);
    p->executor = std::make_unique<Executor>(std::move(plan), backend_, &arena);
    bind_weights(*p->executor, trainer_.store());
    bind_loss_inputs(*p->executor, p->inputs);
    p->executor->bind(port::loss, &p->loss);
    prepared_ = std::move(p);
    return *prepared_;
}

std::vector<double> Evaluator::losses(const EvaluationBatch& batch, const EvaluationHooks& hooks) {
    STEPD_REQUIRE(batch.first >= 0, Code::invalid, "evaluation.first = ", batch.first, " is negative");
    data_.set(batch.samples, "");
    std::vector<int64_t> all(batch.samples.size());
    std::iota(all.begin(), all.end(), 0);
    Prepared& p = prepare(data_.bucket(all));
    p.clean.clear();
    p.noise.clear();
    for (size_t i = 0; i < all.size(); i++) {
        p.clean.push_back(data_.clean_latents(i).values);
        Generator generator(evaluation_seed(batch.seed, uint64_t(batch.first) + i));
        p.noise.push_back(generator.randn(int64_t(p.clean.back().size())));
        data_.fill_caption(i, p.inputs);
    }
    std::vector<double> losses;
    for (double level : objective_.even_levels(batch.timesteps)) {
        losses.push_back(loss(batch, level, p, hooks));
        if (hooks.on_timestep) hooks.on_timestep();
    }
    return losses;
}

double Evaluator::loss(const EvaluationBatch& batch, double level, Prepared& p, const EvaluationHooks& hooks) {
    for (size_t i = 0; i < p.clean.size(); i++) objective_.prepare(int64_t(i), level, p.clean[i], p.noise[i], p.inputs);
    STEPD_REQUIRE(p.executor->run_while(hooks.go_on), Code::cancelled, "the evaluation was cancelled");
    STEPD_REQUIRE(std::isfinite(p.loss), Code::numeric, "the loss of ", batch.samples.size(), " pictures from ",
                  batch.samples.front().latents, " at timestep ", p.inputs.timestep.front(), " is not finite");
    return double(p.loss);
}

}  // namespace stepd
