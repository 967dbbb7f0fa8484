#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "graph/accumulate.h"
#include "graph/autodiff.h"
#include "graph/executor.h"
#include "graph/plan.h"

namespace stepd {

TrainingInputs::TrainingInputs(const Bucket& bucket, int64_t channels, int64_t text_width, DType text_dtype)
    : bucket(bucket), text({{{bucket.batch, bucket.text_tokens, text_width}, text_dtype}}) {
    const size_t batch = size_t(bucket.batch);
    const size_t elements = batch * size_t(channels * bucket.latent_height * bucket.latent_width);
    latents.resize(elements);
    target.resize(elements);
    timestep.resize(batch);
    weight.assign(batch, 1.f);
    huber_c.assign(batch, 1.f);
    text_bias.resize(batch * size_t(bucket.text_tokens));
}

void bind_loss_inputs(Executor& executor, TrainingInputs& inputs) {
    executor.bind(port::latents, inputs.latents.data());
    executor.bind(port::timestep, inputs.timestep.data());
    executor.bind(port::text, inputs.text[0].data);
    executor.bind(port::text_bias, inputs.text_bias.data());
    executor.bind(port::target, inputs.target.data());
    executor.bind(port::weight, inputs.weight.data());
    executor.bind(port::huber_c, inputs.huber_c.data());
}

void bind_weights(Executor& executor, ParameterStore& store, bool average) {
    const auto& entries = store.layout().entries();
    size_t trained = 0;
    for (size_t i = 0; i < entries.size(); i++) {
        void* data = store.weight(i).data;
        if (entries[i].trained && average) data = store.trained().at(trained).average;
        trained += entries[i].trained;
        if (executor.has(entries[i].spec->name)) executor.bind(entries[i].spec->name, data);
    }
}

// One graph of a bucket.
struct Trainer::Pass {
    explicit Pass(Plan p) : plan(std::move(p)) {}
    Plan plan;
    std::unique_ptr<Executor> executor;  // absent while the arena is released
};

struct Trainer::Slot {
    Slot(const Bucket& bucket, const Denoiser& denoiser, DType compute)
        : inputs(bucket, denoiser.latent_channels(), denoiser.text_width(), compute) {}
    std::vector<Pass> passes;  // of the first micro-batch of a step, and of those that add to its gradients
    TrainingInputs inputs;
    float loss = 0;
};

Trainer::Trainer(const DenoiserGraphs& graphs, const OptimizerMethod& method, std::vector<double> settings,
                 const TrainerOptions& options, Backend& backend)
    : graphs_(graphs),
      method_(method),
      settings_(std::move(settings)),
      options_(options),
      backend_(backend),
      store_(graphs.layout, method, options.average) {}

Trainer::~Trainer() = default;

Trainer::Slot& Trainer::slot(const Bucket& bucket) {
    if (auto found = slots_.find(bucket); found != slots_.end()) return *found->second;
    auto slot = std::make_unique<Slot>(bucket, graphs_.denoiser, graphs_.compute);
    slot->passes.emplace_back(plan(bucket, false));
    if (options_.accumulation > 1) slot->passes.emplace_back(plan(bucket, true));
    return *slots_.emplace(bucket, std::move(slot)).first->second;
}

Plan Trainer::plan(const Bucket& bucket, bool adding) const {
    Plan plan = make_plan(graphs_.record_training(bucket, options_.loss, adding), {options_.arena_budget});
    require_room(bucket, plan.report.arena_bytes);
    return plan;
}

void Trainer::require_room(const Bucket& bucket, int64_t bytes) const {
    STEPD_REQUIRE(options_.arena_limit < 0 || bytes <= options_.arena_limit, Code::out_of_memory, "a micro-batch of ",
                  bucket.batch, " with latents ", bucket.latent_width, "x", bucket.latent_height, " needs ",
                  bytes >> 20, " MiB for activations and ", options_.arena_limit >> 20,
                  " MiB are left. Remedies: a smaller micro-batch or resolution, gradient checkpointing, an adapter, "
                  "optimizer adamw_bf16, no average");
}

void Trainer::prepare(std::span<const Bucket> buckets) {
    store_.start_training();
    if (!sweep_) sweep_ = std::make_unique<Sweep>(method_, settings_, store_.trained(), *backend_.pool());
    int64_t arena_bytes = 0;
    for (const Bucket& bucket : buckets)
        for (const Pass& pass : slot(bucket).passes) arena_bytes = std::max(arena_bytes, pass.plan.report.arena_bytes);
    reserve(arena_bytes);
    for (const Bucket& bucket : buckets)
        for (Pass& pass : slot(bucket).passes)
            if (!pass.executor) bind(slot(bucket), pass);
}

void Trainer::reserve(int64_t bytes) {
    if (bytes <= int64_t(arena_.size())) return;
    release_arena();
    arena_ = Buffer(size_t(bytes));
}

Buffer& Trainer::arena(const Bucket& bucket, int64_t bytes) {
    require_room(bucket, bytes);
    reserve(bytes);
    return arena_;
}

void Trainer::release_arena() {
    for (auto& [bucket, slot] : slots_)
        for (Pass& pass : slot->passes) pass.executor.reset();
    arena_ = Buffer();
}

void Trainer::bind(Slot& slot, Pass& pass) {
    pass.executor = std::make_unique<Executor>(pass.plan, backend_, &arena_);
    Executor& e = *pass.executor;
    TrainingInputs& in = slot.inputs;
    bind_weights(e, store_);
    bind_loss_inputs(e, in);
    e.bind(port::loss_scale, &in.loss_scale);
    e.bind(port::loss, &slot.loss);
    for (const Value& value : e.plan().graph.values) {
        if (value.role != Role::input || !value.name.starts_with(kDropoutInput)) continue;
        auto& mask = in.dropout[value.name.substr(std::string(kDropoutInput).size())];
        mask.resize(size_t(numel(value.shape)));
        e.bind(value.name, mask.data());
    }
    for (const TrainedTensor& trained : store_.trained()) {
        const std::string name = gradient_name(trained.name);
        // A weight that the loss does not depend on keeps the zero gradient it was allocated with.
        if (e.has(name)) e.bind(name, trained.gradient);
        if (e.has(earlier_name(name))) e.bind(earlier_name(name), trained.gradient);
    }
}

TrainingInputs& Trainer::inputs(const Bucket& bucket) {
    prepare({&bucket, 1});
    return slot(bucket).inputs;
}

double Trainer::accumulate(const Bucket& bucket, bool first) {
    prepare({&bucket, 1});
    Slot& s = slot(bucket);
    s.passes.at(first ? 0 : 1).executor->run();
    return s.loss;
}

StepReport Trainer::apply(double lr) {
    STEPD_CHECK(sweep_, "apply without gradients");
    const GradientNorm norm = sweep_->gradient_norm();
    STEPD_REQUIRE(norm.broken.empty(), Code::numeric, "step ", step_ + 1, ": the gradient of ", norm.broken,
                  " is not finite; the step was not applied. Remedies: lower the learning rate, or check the samples "
                  "of this batch");
    StepOptions options;
    options.step = step_ + 1;
    options.lr = lr;
    options.gradient_scale = clip_scale(norm.value, options_.clip_norm);
    options.clip_value = options_.clip_value;
    options.average_rate = 1 - ema_decay(options_.ema, step_ + 1);
    options.seed = options_.seed;
    sweep_->step(options);
    step_++;
    return {norm.value};
}

Executor& Trainer::executor(const Bucket& bucket) {
    prepare({&bucket, 1});
    return *slot(bucket).passes.front().executor;
}

}  // namespace stepd
