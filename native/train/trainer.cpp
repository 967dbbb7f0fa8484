#include "train/trainer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
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

struct Trainer::Slot {
    Slot(const Bucket& bucket, const Denoiser& denoiser, DType compute, Plan p)
        : plan(std::move(p)), inputs(bucket, denoiser.latent_channels(), denoiser.text_width(), compute) {}
    Plan plan;
    TrainingInputs inputs;
    float loss = 0;
    bool first_gradients = true;         // which set of gradients the executor writes
    std::unique_ptr<Executor> executor;  // absent while the arena is released
};

Trainer::Trainer(const DenoiserGraphs& graphs, const OptimizerMethod& method, std::vector<double> settings,
                 const TrainerOptions& options, Backend& backend)
    : graphs_(graphs),
      method_(method),
      settings_(std::move(settings)),
      options_(options),
      backend_(backend),
      store_(graphs.layout, method, {options.average, options.accumulation > 1}) {}

Trainer::~Trainer() = default;

Trainer::Slot& Trainer::slot(const Bucket& bucket) {
    if (auto found = slots_.find(bucket); found != slots_.end()) return *found->second;
    Plan plan = make_plan(graphs_.record_training(bucket, options_.loss), {options_.arena_budget});
    const int64_t bytes = plan.report.arena_bytes;
    STEPD_REQUIRE(options_.arena_limit < 0 || bytes <= options_.arena_limit, Code::out_of_memory, "a micro-batch of ",
                  bucket.batch, " with latents ", bucket.latent_width, "x", bucket.latent_height, " needs ",
                  bytes >> 20, " MiB for activations and ", options_.arena_limit >> 20,
                  " MiB are left. Remedies: a smaller micro-batch or resolution, gradient checkpointing, an adapter, "
                  "optimizer adamw_bf16, no average");
    auto slot = std::make_unique<Slot>(bucket, graphs_.denoiser, graphs_.compute, std::move(plan));
    return *slots_.emplace(bucket, std::move(slot)).first->second;
}

void Trainer::prepare(std::span<const Bucket> buckets) {
    store_.start_training();
    if (!sweep_) sweep_ = std::make_unique<Sweep>(method_, settings_, store_.trained(), *backend_.pool());
    int64_t arena_bytes = 0;
    for (const Bucket& bucket : buckets) arena_bytes = std::max(arena_bytes, slot(bucket).plan.report.arena_bytes);
    if (arena_bytes > int64_t(arena_.size())) {
        release_arena();
        arena_ = Buffer(size_t(arena_bytes));
    }
    for (const Bucket& bucket : buckets)
        if (!slot(bucket).executor) bind(slot(bucket));
}

void Trainer::release_arena() {
    for (auto& [bucket, slot] : slots_) slot->executor.reset();
    arena_ = Buffer();
}

void Trainer::bind(Slot& slot) {
    slot.executor = std::make_unique<Executor>(slot.plan, backend_, &arena_);
    Executor& e = *slot.executor;
    TrainingInputs& in = slot.inputs;
    const auto& entries = graphs_.layout.entries();
    for (size_t i = 0; i < entries.size(); i++)
        if (e.has(entries[i].spec->name)) e.bind(entries[i].spec->name, store_.weight(i).data);
    e.bind(port::latents, in.latents.data());
    e.bind(port::timestep, in.timestep.data());
    e.bind(port::text, in.text[0].data);
    e.bind(port::text_bias, in.text_bias.data());
    e.bind(port::target, in.target.data());
    e.bind(port::weight, in.weight.data());
    e.bind(port::huber_c, in.huber_c.data());
    e.bind(port::loss_scale, &in.loss_scale);
    e.bind(port::loss, &slot.loss);
    for (const Value& value : e.plan().graph.values) {
        if (value.role != Role::input || !value.name.starts_with(kDropoutInput)) continue;
        auto& mask = in.dropout[value.name.substr(std::string(kDropoutInput).size())];
        mask.resize(size_t(numel(value.shape)));
        e.bind(value.name, mask.data());
    }
    slot.first_gradients = true;
    bind_gradients(slot, true);
}

void Trainer::bind_gradients(Slot& slot, bool first) {
    const auto& trained = store_.trained();
    for (size_t t = 0; t < trained.size(); t++) {
        const std::string name = gradient_name(trained[t].name);
        // A weight that the loss does not depend on keeps the zero gradient it was allocated with.
        if (!slot.executor->has(name)) continue;
        slot.executor->bind(name, first ? trained[t].gradient : const_cast<float*>(store_.second_gradients().at(t)));
    }
    slot.first_gradients = first;
}

TrainingInputs& Trainer::inputs(const Bucket& bucket) {
    prepare({&bucket, 1});
    return slot(bucket).inputs;
}

double Trainer::accumulate(const Bucket& bucket, bool first) {
    prepare({&bucket, 1});
    Slot& s = slot(bucket);
    if (s.first_gradients != first) bind_gradients(s, first);
    s.executor->run();
    if (!first) sweep_->accumulate(store_.second_gradients());
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
    return *slot(bucket).executor;
}

}  // namespace stepd
