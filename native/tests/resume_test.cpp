// A resumed run equals an uninterrupted one to the last bit, and differs from one that starts cold on the same weights.
#include <gtest/gtest.h>

#include <optional>

#include "base/error.h"
#include "expect_error.h"
#include "tiny_model.h"

namespace stepd {
namespace {

using test::checkpoint_of;
using test::open_session;
using test::tiny_steps;
using test::TinyModel;

struct ResumeCase {
    const char* optimizer;
    bool adapter;
    DType dtype;
    bool average;
    int64_t accumulation;
};

SessionConfig config_of(const TinyModel& model, const ResumeCase& c) {
    SessionConfig config = test::tiny_config(model);
    config.optimizer.name = c.optimizer;
    config.dtype = config.weight_dtype = c.dtype;
    config.accumulation = c.accumulation;
    config.noise.sample_latents = true;
    config.caption_dropout = 0.3;
    config.clip.norm = 1;
    config.schedule = {.name = "cosine", .warmup = 1, .steps = 6};
    if (c.average) config.ema.emplace();
    if (c.adapter) {
        config.adapter = test::tiny_adapter();
        config.adapter->dropout = 0.2;
    }
    return config;
}

// A session that has only the weights of `session`.
std::unique_ptr<Session> cold_copy(Session& session, const TinyModel& other, const ResumeCase& c) {
    SessionConfig config = config_of(other, c);
    ExportRequest request;
    request.path = other / (c.adapter ? "start.safetensors" : "transformer");
    session.export_weights(request);
    if (c.adapter) config.adapter->init = request.path;
    return open_session(other, config);
}

class Resume : public testing::TestWithParam<ResumeCase> {};

TEST_P(Resume, is_bit_exact) {
    const ResumeCase c = GetParam();
    const TinyModel& model = test::tiny_model();
    std::optional<TinyModel> own;
    if (!c.adapter) own.emplace();  // gets other weights
    const TinyModel& other = own ? *own : model;
    const SessionConfig config = config_of(model, c);
    auto steps = [&](int64_t first, int64_t last) { return tiny_steps(first, last, c.accumulation); };

    auto straight = open_session(model, config);
    straight->train(steps(0, 5));

    auto interrupted = open_session(model, config);
    interrupted->train(steps(0, 3));
    const TemporaryFolder saved;
    interrupted->save(saved.path().string());
    auto resumed = open_session(model, config);
    resumed->restore(saved.path().string());
    EXPECT_EQ(resumed->step(), 3);
    EXPECT_EQ(checkpoint_of(*resumed), checkpoint_of(*interrupted)) << "what was restored is not what was saved";
    resumed->train(steps(3, 5));

    auto cold = cold_copy(*interrupted, other, c);
    cold->train(steps(3, 5));

    const auto wanted = checkpoint_of(*straight);
    EXPECT_EQ(checkpoint_of(*resumed), wanted);
    EXPECT_NE(checkpoint_of(*cold).at("weights.safetensors"), wanted.at("weights.safetensors"));
}

std::vector<ResumeCase> all_cases() {
    std::vector<ResumeCase> cases;
    for (const char* optimizer : {"adamw", "adamw_bf16"})
        for (bool adapter : {false, true})
            for (DType dtype : {DType::f32, DType::bf16})
                for (bool average : {false, true})
                    for (int64_t accumulation : {1, 2})
                        cases.push_back({optimizer, adapter, dtype, average, accumulation});
    return cases;
}

INSTANTIATE_TEST_SUITE_P(All, Resume, testing::ValuesIn(all_cases()), [](const auto& info) {
    const ResumeCase& c = info.param;
    return std::string(c.optimizer) + (c.adapter ? "_lora_" : "_full_") + name_of(c.dtype) + (c.average ? "_ema" : "") +
           "_x" + std::to_string(c.accumulation);
});

std::string refusal(Session& session, const std::string& dir) {
    return message_of(Code::invalid, [&] { session.restore(dir); });
}

Code restore_code(Session& session, const std::string& dir) {
    try {
        session.restore(dir);
    } catch (const Error& e) {
        return e.code();
    }
    return Code::ok;
}

TEST(Restore, refuses_what_does_not_belong) {
    const TinyModel& model = test::tiny_model();
    const TemporaryFolder saved;
    SessionConfig config = test::tiny_config(model);
    auto session = open_session(model, config);
    session->train(tiny_steps(0, 1));
    session->save(saved.path().string());

    SessionConfig other = config;
    other.optimizer.name = "adamw_bf16";
    const std::string reason = refusal(*open_session(model, other), saved.path().string());
    expect_contains(reason, "made with optimizer = \"adamw\", not \"adamw_bf16\"; continue with the settings");
    other = config;
    other.adapter = test::tiny_adapter();
    expect_contains(refusal(*open_session(model, other), saved.path().string()), "adapter = null, not {");
    other = config;
    other.ema.emplace();
    expect_contains(refusal(*open_session(model, other), saved.path().string()), "ema = false, not true");

    other = config;
    other.seed = 12;
    expect_contains(refusal(*open_session(model, other), saved.path().string()), "not 12; continue with the seed");

    auto victim = open_session(model, config);
    const auto before = checkpoint_of(*victim);
    const std::string bytes = read_file(saved / "optimizer.safetensors");
    write_file(saved / "optimizer.safetensors", bytes.substr(0, bytes.size() - 1));
    EXPECT_EQ(restore_code(*victim, saved.path().string()), Code::invalid);
    EXPECT_EQ(checkpoint_of(*victim), before) << "a refused checkpoint changed the session";
    std::filesystem::remove(saved / "optimizer.safetensors");
    EXPECT_EQ(restore_code(*victim, saved.path().string()), Code::not_found);
}

}  // namespace
}  // namespace stepd
