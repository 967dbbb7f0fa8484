// Losses of pictures that are not trained on: what they are, and that they leave the training as it is.
#include "train/evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "backend/cpu.h"
#include "expect_error.h"
#include "io/draws.h"
#include "tiny_model.h"

namespace stepd {
namespace {

using test::checkpoint_of;
using test::open_session;
using test::tiny_config;
using test::tiny_steps;
using test::TinyModel;

constexpr int64_t kLevels = 4;

// Samples [first, last) of the tiny data set.
EvaluationBatch tiny_batch(const TinyModel& model, int64_t first, int64_t last) {
    return {{model.samples().begin() + first, model.samples().begin() + last}, first, 0, kLevels};
}

std::vector<double> losses_of(Session& session, const EvaluationBatch& batch) { return session.evaluate({batch})[0]; }

SessionConfig full_config(const TinyModel& model) {
    SessionConfig config = tiny_config(model);
    config.noise.sample_latents = true;
    config.caption_dropout = 0.3;
    config.clip.norm = 1;
    config.ema.emplace();
    config.accumulation = 2;
    return config;
}

TEST(Evaluation, leaves_the_training_bit_for_bit_as_it_is) {
    const TinyModel& model = test::tiny_model();
    for (bool adapter : {false, true}) {
        SessionConfig config = full_config(model);
        if (adapter) {
            config.adapter = test::tiny_adapter();
            config.adapter->dropout = 0.2;
        } else {
            config.dtype = config.weight_dtype = DType::bf16;
            config.optimizer.name = "adamw_bf16";  // rounds at random
        }
        auto straight = open_session(model, config), evaluated = open_session(model, config);
        straight->train(tiny_steps(0, 4, 2));
        for (int64_t step = 0; step < 4; step++) {
            losses_of(*evaluated, tiny_batch(model, 0, 3));
            evaluated->train(tiny_steps(step, step + 1, 2));
        }
        const auto before = checkpoint_of(*evaluated);
        losses_of(*evaluated, tiny_batch(model, 2, 4));
        EXPECT_EQ(checkpoint_of(*evaluated), before);
        EXPECT_EQ(before, checkpoint_of(*straight)) << (adapter ? "lora" : "full");
        EXPECT_EQ(evaluated->step(), 4);
    }
}

TEST(Evaluation, is_the_same_until_the_weights_change) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = full_config(model);
    auto one = open_session(model, config), two = open_session(model, config, {}, 1);
    one->train(tiny_steps(0, 2, 2));
    const auto first = losses_of(*one, tiny_batch(model, 0, 3));
    EXPECT_EQ(losses_of(*one, tiny_batch(model, 0, 3)), first);
    EXPECT_NE(losses_of(*two, tiny_batch(model, 0, 3)), first) << "the weights are others";
    const TemporaryFolder saved;
    one->save(saved.path().string());
    two->restore(saved.path().string());
    EXPECT_EQ(losses_of(*two, tiny_batch(model, 0, 3)), first) << "after a resume, with another number of threads";
}

// The same latents, noise levels and noise through the training graph.
std::vector<double> training_losses(const TinyModel& model, const SessionConfig& config, const EvaluationBatch& batch) {
    const Model opened(config);
    const ParameterLayout layout = make_layout(opened, config);
    const auto backend = make_cpu_backend(2);
    const OptimizerMethod& method = find_optimizer("adamw");
    const DenoiserGraphs graphs{*opened.denoiser, nullptr, nullptr, layout, config.dtype};
    const Objective objective(config.loss, config.noise, opened.scheduler);
    TrainerOptions options;
    options.loss = objective.loss_kind();
    Trainer trainer(graphs, method, optimizer_settings(method, {}), options, *backend);
    load_model(opened, config, trainer.store(), nullptr);
    TrainingData data(*opened.denoiser, opened.latent_scale, config.text_tokens);
    data.set(batch.samples, model.empty());
    const Bucket bucket{int64_t(batch.samples.size()), 4, 4, config.text_tokens};
    TrainingInputs& inputs = trainer.inputs(bucket);
    std::vector<double> losses;
    for (double level : objective.even_levels(batch.timesteps)) {
        for (size_t i = 0; i < batch.samples.size(); i++) {
            const std::vector<float> clean = data.clean_latents(i).values;
            Generator generator(evaluation_seed(batch.seed, uint64_t(batch.first) + i));
            objective.prepare(int64_t(i), level, clean, generator.randn(int64_t(clean.size())), inputs);
            data.fill_caption(i, inputs);
        }
        losses.push_back(trainer.accumulate(bucket, true));
    }
    return losses;
}

TEST(Evaluation, is_the_loss_that_training_would_have) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    std::vector<LossConfig> kinds(3);
    kinds[1].prediction = "epsilon";
    kinds[1].snr_gamma = 5;
    kinds[2].type = "huber";
    for (const LossConfig& loss : kinds) {
        config.loss = loss;
        auto session = open_session(model, config);
        const EvaluationBatch batch = tiny_batch(model, 1, 4);
        const auto losses = losses_of(*session, batch), wanted = training_losses(model, config, batch);
        ASSERT_EQ(losses.size(), size_t(kLevels));
        for (size_t i = 0; i < losses.size(); i++) EXPECT_NEAR(losses[i], wanted[i], 1e-6 * wanted[i]) << loss.type;
    }
}

TEST(Evaluation, noise_belongs_to_the_picture_whatever_its_batch) {
    const TinyModel& model = test::tiny_model();
    auto session = open_session(model, tiny_config(model));
    const auto both = losses_of(*session, tiny_batch(model, 1, 3));
    const auto one = losses_of(*session, tiny_batch(model, 1, 2)), two = losses_of(*session, tiny_batch(model, 2, 3));
    for (size_t i = 0; i < both.size(); i++) EXPECT_NEAR(both[i], (one[i] + two[i]) / 2, 1e-6 * both[i]);
    EvaluationBatch other = tiny_batch(model, 1, 2);
    other.seed = 1;
    EXPECT_NE(losses_of(*session, other), one);
}

TEST(Evaluation, levels_are_spread_evenly_over_the_schedule) {
    const nlohmann::json ddpm = {{"_class_name", "DDPMScheduler"}, {"prediction_type", "epsilon"}},
                         flow = {{"_class_name", "FlowMatchEulerDiscreteScheduler"}};
    const Objective discrete({}, {}, ddpm);
    EXPECT_EQ(discrete.even_levels(4), (std::vector<double>{999, 749, 499, 249}));
    const auto usual = discrete.even_levels(28);
    EXPECT_EQ(usual.front(), 999);
    EXPECT_EQ(usual.back(), 35);
    EXPECT_EQ(discrete.even_levels(1000).back(), 0);
    NoiseConfig noise;
    EXPECT_EQ(Objective({}, noise, flow).even_levels(4), (std::vector<double>{1, 0.75, 0.5, 0.25}));
    noise.shift = 3;
    EXPECT_EQ(Objective({}, noise, flow).even_levels(2), (std::vector<double>{1, 0.75}));
    expect_contains(message_of(Code::invalid, [&] { discrete.even_levels(1001); }), "1 to 1000");
    expect_contains(message_of(Code::invalid, [&] { discrete.even_levels(0); }), "1 to 1000");
}

TEST(Evaluation, failures_leave_the_session_usable) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    int64_t done = 0;
    EventSink sink;
    sink.on_progress = [&](const ProgressEvent& e) { done += e.stage == "evaluate"; };
    auto session = open_session(model, config, sink);
    session->train(tiny_steps(0, 1));
    const auto before = checkpoint_of(*session);
    EvaluationBatch missing = tiny_batch(model, 0, 2), nan = tiny_batch(model, 0, 1);
    missing.samples[1].latents = model / "nowhere.safetensors";
    nan.samples[0].latents = model.constant_latents("nan_evaluated.safetensors", NAN);
    expect_contains(message_of(Code::not_found, [&] { losses_of(*session, missing); }), "nowhere");
    expect_contains(message_of(Code::numeric, [&] { losses_of(*session, nan); }), "not finite");
    EXPECT_EQ(done, 0);
    session->cancel();
    message_of(Code::cancelled, [&] { losses_of(*session, tiny_batch(model, 0, 1)); });
    session->resume();
    losses_of(*session, tiny_batch(model, 0, 1));
    EXPECT_EQ(done, kLevels);
    EXPECT_EQ(checkpoint_of(*session), before);
}

TEST(Evaluation, memory_is_planned_and_refused_when_it_is_short) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    const std::vector<PixelShape> trained = {{16, 16, 0, 1}};
    std::vector<PixelShape> both = trained;
    both.push_back({128, 128, 0, 4, true});
    auto plan = [&](const std::vector<PixelShape>& shapes) { return plan_memory(Model(config), config, shapes, 2); };
    const MemoryPlan without = plan(trained), with = plan(both);
    EXPECT_GT(with.activations, without.activations);
    EXPECT_EQ(with.flop, without.flop) << "of a training step";
    both.back().evaluation = false;
    EXPECT_LT(with.activations, plan(both).activations) << "an evaluation keeps nothing for a backward pass";

    config.memory_budget = plan_state(make_layout(Model(config), config), config).state() + 1024;
    auto session = open_session(model, config);
    expect_contains(message_of(Code::out_of_memory, [&] { losses_of(*session, tiny_batch(model, 0, 2)); }),
                    "micro-batch of 2");
}

}  // namespace
}  // namespace stepd
