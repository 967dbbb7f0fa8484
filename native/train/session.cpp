#include "train/session.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "backend/cpu.h"
#include "base/error.h"

namespace stepd {
namespace {

TrainerOptions trainer_options(const SessionConfig& c, LossKind loss, const MemoryPlan& plan) {
    TrainerOptions o;
    o.loss = loss;
    o.clip_norm = c.clip.norm;
    o.clip_value = c.clip.value;
    o.average = c.ema.has_value();
    if (c.ema) o.ema = *c.ema;
    o.seed = c.seed;
    o.accumulation = c.accumulation;
    o.arena_budget = arena_budget(plan, c);
    o.arena_limit = std::max<int64_t>(0, plan.available - plan.state());
    return o;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

Session::Session(const SessionConfig& config, EventSink sink, int threads, const Cancellation* opening)
    : config_(config),
      sink_(std::move(sink)),
      model_(config),
      backend_(make_cpu_backend(threads)),
      layout_(make_layout(model_, config)),
      method_(find_optimizer(config.optimizer.name)),
      objective_(config.loss, config.noise, model_.scheduler),
      data_(*model_.denoiser, model_.latent_scale, config.text_tokens) {
    const MemoryPlan plan = plan_state(layout_, config);
    require_fit(plan);
    const DenoiserGraphs graphs{*model_.denoiser, model_.adapter.get(), model_.sampling_adapter.get(), layout_,
                                config.dtype};
    trainer_ = std::make_unique<Trainer>(graphs, method_, optimizer_settings(method_, config.optimizer.params),
                                         trainer_options(config, objective_.loss_kind(), plan), *backend_);
    progress("load", 0, 1);
    load_model(model_, config, trainer_->store(), opening);
    progress("load", 1, 1);
}

void Session::progress(const char* stage, size_t done, size_t total) const {
    if (sink_.on_progress) sink_.on_progress({stage, int64_t(done), int64_t(total)});
}

void Session::require_training(const char* what) const {
    STEPD_REQUIRE(!config_.sample_only, Code::state, what, ": the session was opened for sampling only");
}

void Session::set_samples(std::vector<SampleFiles> samples, const std::string& empty) {
    data_.set(std::move(samples), empty);
}

TrainResult Session::train(const std::vector<TrainStep>& steps) {
    require_training("train");
    // Plans of all buckets first, so that a run that will not fit is refused before its first step.
    std::vector<Bucket> buckets;
    for (const TrainStep& step : steps) {
        STEPD_REQUIRE(!step.batches.empty() && int64_t(step.batches.size()) <= config_.accumulation, Code::invalid,
                      "a step of ", step.batches.size(),
                      " micro-batches; 1 to config.accumulation = ", config_.accumulation, " are possible");
        for (const MicroBatch& batch : step.batches) buckets.push_back(data_.bucket(batch.samples));
    }
    trainer_->prepare(buckets);
    TrainResult result;
    for (const TrainStep& step : steps) {
        if (cancellation_.cancelled() || !train_step(step)) {
            result.cancelled = true;
            break;
        }
        result.steps++;
    }
    return result;
}

// False when it was cancelled, and then nothing is applied.
bool Session::train_step(const TrainStep& step) {
    const auto start = std::chrono::steady_clock::now();
    double loss = 0;
    for (size_t i = 0; i < step.batches.size(); i++) {
        if (cancellation_.cancelled()) return false;
        loss += run_micro_batch(step.batches[i], step, i == 0);
    }
    StepEvent event;
    event.lr = learning_rate(config_.schedule, config_.optimizer.lr, trainer_->step());
    event.grad_norm = trainer_->apply(event.lr).grad_norm;
    step_ = event.step = trainer_->step();
    event.loss = loss / double(step.batches.size());
    event.seconds = seconds_since(start);
    if (sink_.on_step) sink_.on_step(event);
    return true;
}

double Session::run_micro_batch(const MicroBatch& batch, const TrainStep& step, bool first) {
    const Bucket bucket = data_.bucket(batch.samples);
    TrainingInputs& inputs = trainer_->inputs(bucket);
    const TrainingData::Options options{config_.seed, config_.noise.sample_latents, config_.noise.offset,
                                        config_.noise.offset_probability, config_.caption_dropout};
    data_.fill(options, objective_, batch.index, batch.samples, inputs);
    if (model_.adapter && model_.adapter->dropout() > 0)
        draw_dropout_masks(model_.adapter_modules, model_.adapter->dropout(), config_.seed, batch.index, inputs);
    inputs.loss_scale = config_.accumulate_sum ? 1.f : 1.f / float(step.batches.size());
    const double loss = trainer_->accumulate(bucket, first);
    if (!std::isfinite(loss)) {
        std::string samples;
        for (int64_t s : batch.samples) samples += (samples.empty() ? "" : ", ") + std::to_string(s);
        STEPD_THROW(
            Code::numeric, "step ", trainer_->step() + 1, ": the loss of micro-batch ", batch.index, " (samples ",
            samples,
            ") is not finite; the step was not applied. Remedies: lower the learning rate, or check these samples");
    }
    return loss;
}

std::vector<std::vector<double>> Session::evaluate(const std::vector<EvaluationBatch>& batches) {
    size_t done = 0, total = 0;
    for (const EvaluationBatch& batch : batches) total += size_t(std::max<int64_t>(0, batch.timesteps));
    Evaluator evaluator(model_, objective_, config_.text_tokens, *trainer_, *backend_);
    const EvaluationHooks hooks{[this] { return !cancellation_.cancelled(); },
                                [&] { progress("evaluate", ++done, total); }};
    std::vector<std::vector<double>> losses;
    for (const EvaluationBatch& batch : batches) losses.push_back(evaluator.losses(batch, hooks));
    return losses;
}

std::vector<std::string> Session::save(const std::string& dir) {
    require_training("save");
    progress("save", 0, 1);
    auto files = save_checkpoint(dir, config_, method_, trainer_->store(), trainer_->step());
    progress("save", 1, 1);
    return files;
}

void Session::restore(const std::string& dir) {
    require_training("restore");
    trainer_->set_step(restore_checkpoint(dir, config_, method_, trainer_->store()));
    step_ = trainer_->step();
}

void Session::export_weights(const ExportRequest& request) {
    require_training("export");
    stepd::export_weights(request, model_, trainer_->store());
}

}  // namespace stepd
