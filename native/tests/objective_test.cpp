// Noise levels, targets and random draws of micro-batches.
#include "train/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "expect_error.h"
#include "tiny_model.h"

namespace stepd {
namespace {

const nlohmann::json kFlow = {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"num_train_timesteps", 1000}};
const nlohmann::json kDdpm = {{"_class_name", "DDPMScheduler"}, {"prediction_type", "epsilon"}};

TEST(Objective, the_folder_decides_unless_the_job_does) {
    EXPECT_EQ(Objective({}, {}, kFlow).prediction(), Prediction::flow);
    EXPECT_EQ(Objective({}, {}, kDdpm).prediction(), Prediction::epsilon);
    LossConfig loss;
    loss.prediction = "v_prediction";
    EXPECT_EQ(Objective(loss, {}, kFlow).prediction(), Prediction::v_prediction);
}

TEST(Objective, refuses_contradictions) {
    LossConfig loss;
    loss.snr_gamma = 5;
    EXPECT_THROW(Objective(loss, {}, kFlow), Error);
    NoiseConfig noise;
    noise.timesteps = "sigmoid";
    EXPECT_THROW(Objective({}, noise, kDdpm), Error);
    noise = {};
    noise.shift = 3;
    EXPECT_THROW(Objective({}, noise, kDdpm), Error);
}

TEST(Objective, flow_matching_uses_1000_sigma_as_timestep) {
    NoiseConfig noise;
    noise.shift = 3;
    const Objective objective({}, noise, kFlow);
    Draws draws;
    draws.u = {0.4f};
    TrainingInputs inputs({1, 1, 2, 1}, 1, 1, DType::f32);
    const std::vector<float> x0 = {1, -2}, eps = {0.5f, 4};
    objective.prepare(0, objective.level(0, draws), x0, eps, inputs);
    const double plain = 1 / (1 + std::exp(-0.4)), sigma = 3 * plain / (1 + 2 * plain);
    EXPECT_NEAR(inputs.timestep[0], 1000 * sigma, 1e-3);
    for (size_t i = 0; i < 2; i++) {
        EXPECT_NEAR(inputs.latents[i], (1 - sigma) * x0[i] + sigma * eps[i], 1e-6);
        EXPECT_EQ(inputs.target[i], eps[i] - x0[i]);
    }
    EXPECT_EQ(inputs.weight[0], 1);
}

TEST(Stratified, covers_every_slice_and_keeps_the_order_of_draws) {
    constexpr int64_t batch = 8;
    for (int64_t b = 0; b < batch; b++) {
        for (double u : {0.0, 0.3, 0.999}) {
            EXPECT_GE(stratified_uniform(u, b, batch), double(b) / batch);
            EXPECT_LT(stratified_uniform(u, b, batch), double(b + 1) / batch);
        }
        for (int64_t t : {0, 500, 999}) {
            EXPECT_GE(stratified_timestep(t, b, batch, 1000), b * 1000 / batch);
            EXPECT_LT(stratified_timestep(t, b, batch, 1000), (b + 1) * 1000 / batch);
        }
        EXPECT_LT(stratified_normal(-0.5, b, batch), stratified_normal(0.5, b, batch));
    }
    for (double u : {-2.5, 0.0, 1.25}) EXPECT_NEAR(stratified_normal(u, 0, 1), u, 1e-12);
    EXPECT_NEAR(stratified_normal(0, 0, 2), -0.6744897501960817, 1e-12) << "the lower quartile";
}

class Data : public testing::Test {
protected:
    Data()
        : config_(test::tiny_config(model_)), opened_(config_), data_(*opened_.denoiser, {0.5, 2}, test::kTextTokens) {
        data_.set(model_.samples(), model_.empty());
    }
    TrainingInputs inputs(int64_t batch) const {
        return {{batch, 4, 4, test::kTextTokens}, test::kChannels, test::kTextWidth, DType::f32};
    }
    const test::TinyModel& model_ = test::tiny_model();
    SessionConfig config_;
    Model opened_;
    TrainingData data_;
};

TEST_F(Data, pads_text_with_zeros_and_masks_the_padding) {
    TrainingInputs in = inputs(2);
    const std::vector<int64_t> samples = {0, 3};  // 2 and 5 tokens
    data_.fill({}, Objective({}, {}, kFlow), 0, samples, in);
    const float masked = opened_.denoiser->masked_text_bias();
    EXPECT_EQ(in.text_bias, (std::vector<float>{0, 0, masked, masked, masked, masked, 0, 0, 0, 0, 0, masked}));
    const float* text = in.text[0].f32();
    EXPECT_NE(text[2 * test::kTextWidth - 1], 0);
    EXPECT_EQ(text[2 * test::kTextWidth], 0);
}

TEST_F(Data, scales_the_mean_and_draws_noise_by_the_contract) {
    TrainingInputs in = inputs(1);
    const std::vector<int64_t> samples = {1};
    TrainingData::Options options;
    options.seed = 21;
    data_.fill(options, Objective({}, {}, kFlow), 5, samples, in);
    DrawOptions draw;
    draw.latents = {1, test::kChannels, 4, 4};
    draw.timestep = TimestepDraw::normal;
    const Draws draws = draw_micro_batch(21, 5, draw);
    std::vector<float> mean(draws.noise.size());
    convert(SafetensorsReader(model_.samples()[1].latents).at("mean"), 0, int64_t(mean.size()), mean.data(),
            DType::f32);
    for (size_t i = 0; i < mean.size(); i++) EXPECT_NEAR(in.target[i], draws.noise[i] - (mean[i] - 0.5f) * 2, 1e-5);
}

// The choice is drawn last, so nothing else of the micro-batch depends on it.
TEST_F(Data, offset_noise_comes_to_a_share_of_the_micro_batches) {
    const std::vector<int64_t> samples = {1};
    auto target = [&](int64_t k, double offset, double probability) {
        TrainingInputs in = inputs(1);
        TrainingData::Options options;
        options.noise_offset = offset;
        options.offset_probability = probability;
        data_.fill(options, Objective({}, {}, kFlow), k, samples, in);
        return in.target;
    };
    int shifted = 0;
    for (int64_t k = 0; k < 100; k++) {
        const auto always = target(k, -0.5, 1), never = target(k, 0, 1), sometimes = target(k, -0.5, 0.25);
        EXPECT_TRUE(sometimes == always || sometimes == never) << "micro-batch " << k;
        shifted += sometimes == always;
    }
    EXPECT_GT(shifted, 10);
    EXPECT_LT(shifted, 40);
}

TEST_F(Data, offset_noise_shifts_whole_channels) {
    TrainingInputs plain = inputs(1), shifted = inputs(1);
    const std::vector<int64_t> samples = {1};
    TrainingData::Options options;
    data_.fill(options, Objective({}, {}, kFlow), 0, samples, plain);
    options.noise_offset = -0.5;
    data_.fill(options, Objective({}, {}, kFlow), 0, samples, shifted);
    EXPECT_EQ(plain.timestep, shifted.timestep) << "other draws must stay as they are";
    for (size_t c = 0; c < size_t(test::kChannels); c++) {
        const float offset = shifted.target[16 * c] - plain.target[16 * c];
        EXPECT_NE(offset, 0);
        for (size_t i = 0; i < 16; i++)
            EXPECT_NEAR(shifted.target[16 * c + i] - plain.target[16 * c + i], offset, 1e-5);
    }
}

// A cached file may be replaced between steps; what no longer fits is refused by name.
TEST_F(Data, refuses_files_that_changed_since_they_were_listed) {
    const TemporaryFolder folder;
    const SampleFiles good = model_.samples()[1];
    const std::string latents = folder / "latents.safetensors", text = folder / "text.safetensors";
    auto write = [](const std::string& file, std::vector<std::pair<std::string, Shape>> arrays) {
        static std::vector<float> zeros(4096);
        std::vector<SafeTensorSource> sources;
        for (const auto& [name, shape] : arrays)
            sources.push_back(source_of(name, {zeros.data(), DType::f32, shape}, SafeType::f32));
        write_safetensors(file, sources);
    };
    const Shape mean = {test::kChannels, 4, 4};
    TrainingInputs in = inputs(1);
    TrainingData::Options options;
    options.sample_latents = true;
    auto refusal = [&](const SampleFiles& files, const auto& change) {
        write(latents, {{"mean", mean}, {"logvar", mean}});
        write(text, {{"embedding", {2, test::kTextWidth}}});
        data_.set({files}, "");
        change();
        const std::vector<int64_t> samples = {0};
        return message_of(Code::invalid, [&] { data_.fill(options, Objective({}, {}, kFlow), 0, samples, in); });
    };
    auto truncated_text = [&] { write(text, {{"embedding", {}}}); };
    expect_contains(refusal({good.latents, text}, truncated_text), "text.safetensors");
    auto truncated_logvar = [&] { write(latents, {{"mean", mean}, {"logvar", {test::kChannels, 4}}}); };
    expect_contains(refusal({latents, good.text}, truncated_logvar), "logvar");
    auto truncated_both = [&] { write(latents, {{"mean", {1}}, {"logvar", {1}}}); };
    expect_contains(refusal({latents, good.text}, truncated_both), "mean");
}

TEST_F(Data, a_dropped_caption_is_the_empty_one) {
    TrainingInputs in = inputs(1);
    const std::vector<int64_t> samples = {3};
    TrainingData::Options options;
    options.caption_dropout = 1;
    data_.fill(options, Objective({}, {}, kFlow), 0, samples, in);
    EXPECT_EQ(std::count(in.text_bias.begin(), in.text_bias.end(), 0.f), 1);
}

TEST(Dropout, masks_follow_the_modules_and_keep_the_mean) {
    TrainingInputs in({1, 1, 1, 1}, 1, 1, DType::f32);
    in.dropout["b"].resize(4000);
    in.dropout["a"].resize(10);
    draw_dropout_masks({{"a", 1, 1}, {"absent", 1, 1}, {"b", 1, 1}}, 0.25, 3, 8, in);
    Generator generator(adapter_dropout_seed(3, 8));
    const std::vector<float> first = generator.rand(10);
    for (size_t i = 0; i < 10; i++) EXPECT_EQ(in.dropout["a"][i], first[i] >= 0.25f ? float(1 / 0.75) : 0.f);
    double mean = 0;
    for (float m : in.dropout["b"]) mean += m / 4000;
    EXPECT_NEAR(mean, 1, 0.05);
}

}  // namespace
}  // namespace stepd
