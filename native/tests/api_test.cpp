// The contract of the C interface: nothing aborts, every error names its cause, nothing leaks.
#include <gtest/gtest.h>
#include <stepd/stepd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tiny_model.h"

extern "C" int32_t stepd_test_c99(stepd_error* error, stepd_buffer* info);

namespace stepd {
namespace {

using nlohmann::json;
using test::TinyModel;

// Owns what a call returns.
struct Answer {
    stepd_buffer buffer{};
    stepd_error error{};
    Answer() { error.struct_size = sizeof error; }
    ~Answer() { stepd_buffer_free(&buffer); }
    Answer(const Answer&) = delete;
    json value() const { return json::parse(std::string(buffer.data, buffer.size)); }
    std::string message() const { return error.message; }
};

struct Events {
    std::vector<std::pair<int32_t, json>> list;
    stepd_session* cancel = nullptr;  // cancelled on the first step
    static void on_event(void* user, int32_t kind, const char* text, size_t size) {
        auto* self = static_cast<Events*>(user);
        self->list.emplace_back(kind, json::parse(std::string(text, size)));
        if (kind == STEPD_EVENT_STEP && self->cancel) stepd_session_cancel(self->cancel);
    }
    stepd_callbacks callbacks() { return {sizeof(stepd_callbacks), this, on_event}; }
};

json tiny_json(const TinyModel& model) {
    return {{"model", model.path()},
            {"device", "cpu"},
            {"dtype", "fp32"},
            {"weight_dtype", "fp32"},
            {"optimizer", {{"name", "adamw"}, {"lr", 0.01}, {"params", {{"weight_decay", 0}}}}},
            {"loss", {{"type", "l2"}}},
            {"accumulation", 1},
            {"text_tokens", test::kTextTokens}};
}

stepd_session* create(const json& config, stepd_callbacks* callbacks, Answer& answer) {
    const std::string text = config.dump();
    stepd_session* session = nullptr;
    stepd_session_create(text.data(), text.size(), callbacks, nullptr, &session, &answer.error);
    return session;
}

class Api : public testing::Test {
protected:
    void SetUp() override { live_ = stepd_debug_live(); }
    void TearDown() override { EXPECT_EQ(stepd_debug_live(), live_) << "sessions or buffers leak"; }

    void open(stepd_callbacks* callbacks = nullptr) {
        Answer answer;
        session_ = create(tiny_json(model_), callbacks, answer);
        ASSERT_TRUE(session_) << answer.message();
    }
    void set_samples() {
        json request = {{"samples", json::array()}, {"empty", {{"path", model_.empty()}}}};
        for (const SampleFiles& f : model_.samples())
            request["samples"].push_back({{"latents", f.latents}, {"text", f.text}});
        Answer answer;
        const std::string text = request.dump();
        ASSERT_EQ(stepd_session_set_samples(session_, text.data(), text.size(), &answer.error), STEPD_OK)
            << answer.message();
    }
    stepd_status train(const std::string& steps, Answer& answer) {
        return stepd_session_train(session_, steps.data(), steps.size(), &answer.buffer, &answer.error);
    }
    void close() { stepd_session_destroy(session_); }

    const TinyModel& model_ = test::tiny_model();
    stepd_session* session_ = nullptr;
    int64_t live_ = 0;
};

const char* const kTwoSteps =
    R"([{"batches": [{"index": 0, "samples": [0, 1]}]}, {"batches": [{"index": 1, "samples": [2]}]}])";

TEST_F(Api, header_is_c99) {
    Answer answer;
    EXPECT_EQ(stepd_test_c99(&answer.error, &answer.buffer), STEPD_OK);
    EXPECT_EQ(answer.value().at("name"), "native");
    EXPECT_EQ(answer.value().at("families"), json({"pixart"}));
}

TEST_F(Api, trains_and_reports) {
    Events events;
    stepd_callbacks callbacks = events.callbacks();
    open(&callbacks);
    set_samples();
    Answer answer;
    ASSERT_EQ(train(kTwoSteps, answer), STEPD_OK) << answer.message();
    EXPECT_EQ(answer.value(), json({{"steps", 2}, {"cancelled", false}}));
    EXPECT_EQ(stepd_session_step(session_), 2);
    std::vector<json> steps;
    for (const auto& [kind, event] : events.list)
        if (kind == STEPD_EVENT_STEP) steps.push_back(event);
    ASSERT_EQ(steps.size(), 2u);
    EXPECT_EQ(steps[1].at("step"), 2);
    EXPECT_EQ(steps[1].at("lr"), 0.01);
    EXPECT_GT(steps[1].at("loss"), 0);
    close();
}

TEST_F(Api, reports_previews) {
    Events events;
    stepd_callbacks callbacks = events.callbacks();
    open(&callbacks);
    const TemporaryFolder folder;
    const std::string request = json({{{"ids", {5, 1}},
                                       {"width", 16},
                                       {"height", 16},
                                       {"steps", 3},
                                       {"guidance", 1},
                                       {"out", folder / "out.png"},
                                       {"preview", {{"every", 4}, {"out", folder / "{step}.png"}}}}})
                                    .dump();
    Answer answer;
    ASSERT_EQ(stepd_session_sample(session_, request.data(), request.size(), &answer.error), STEPD_OK)
        << answer.message();
    std::vector<json> previews;
    for (const auto& [kind, event] : events.list)
        if (kind == STEPD_EVENT_PREVIEW) previews.push_back(event);
    ASSERT_EQ(previews.size(), 2u);
    EXPECT_EQ(previews[1], json({{"request", 0},
                                 {"step", 3},
                                 {"steps", 3},
                                 {"timestep", previews[1].at("timestep")},
                                 {"path", folder / "3.png"},
                                 {"error", ""}}));
    close();
}

TEST_F(Api, saves_and_restores) {
    open();
    set_samples();
    const TemporaryFolder folder;
    const std::string dir = folder.path().string();
    Answer trained, saved, restored, exported;
    ASSERT_EQ(train(kTwoSteps, trained), STEPD_OK);
    ASSERT_EQ(stepd_session_save(session_, dir.data(), dir.size(), &saved.buffer, &saved.error), STEPD_OK);
    EXPECT_EQ(saved.value(), json({"weights.safetensors", "optimizer.safetensors", "state.json"}));
    close();
    open();
    ASSERT_EQ(stepd_session_restore(session_, dir.data(), dir.size(), &restored.error), STEPD_OK) << restored.message();
    EXPECT_EQ(stepd_session_step(session_), 2);
    const std::string request = json({{"path", folder / "out"}, {"format", "diffusers"}, {"dtype", "bf16"}}).dump();
    EXPECT_EQ(stepd_session_export(session_, request.data(), request.size(), &exported.error), STEPD_OK)
        << exported.message();
    EXPECT_TRUE(std::filesystem::exists(folder / "out/config.json"));
    close();
}

TEST_F(Api, evaluates_losses) {
    open();
    const SampleFiles& f = model_.samples()[0];
    json batch = {
        {"samples", {{{"latents", f.latents}, {"text", f.text}}}}, {"first", 0}, {"seed", 0}, {"timesteps", 3}};
    auto evaluate = [&](const json& request, Answer& answer) {
        const std::string text = request.dump();
        return stepd_session_evaluate(session_, text.data(), text.size(), &answer.buffer, &answer.error);
    };
    Answer answer, unknown, none;
    ASSERT_EQ(evaluate(json::array({batch, batch}), answer), STEPD_OK) << answer.message();
    ASSERT_EQ(answer.value().size(), 2u);
    EXPECT_EQ(answer.value()[0].size(), 3u);
    EXPECT_EQ(answer.value()[0], answer.value()[1]);
    EXPECT_EQ(stepd_session_step(session_), 0);
    batch["bogus"] = 1;
    EXPECT_EQ(evaluate(json::array({batch}), unknown), STEPD_INVALID);
    EXPECT_NE(unknown.message().find("evaluations[0].bogus"), std::string::npos) << unknown.message();
    EXPECT_EQ(evaluate(json::array({json{{"timesteps", 3}}}), none), STEPD_INVALID);
    EXPECT_EQ(stepd_session_evaluate(session_, "[]", 2, nullptr, &none.error), STEPD_INVALID);
    close();
}

TEST_F(Api, cancel_stops_after_the_step) {
    Events events;
    stepd_callbacks callbacks = events.callbacks();
    open(&callbacks);
    events.cancel = session_;
    set_samples();
    Answer answer;
    ASSERT_EQ(train(kTwoSteps, answer), STEPD_OK);
    EXPECT_EQ(answer.value(), json({{"steps", 1}, {"cancelled", true}}));
    events.cancel = nullptr;
    stepd_session_resume(session_);
    Answer again;
    ASSERT_EQ(train(kTwoSteps, again), STEPD_OK);
    EXPECT_EQ(again.value(), json({{"steps", 2}, {"cancelled", false}}));
    close();
}

TEST_F(Api, every_wrong_field_is_named) {
    struct Case {
        const char* pointer;
        json value;
        int32_t code;
        const char* in_message;
    };
    const Case cases[] = {
        {"/bogus", 1, STEPD_INVALID, "config.bogus"},
        {"/optimizer/bogus", 1, STEPD_INVALID, "config.optimizer.bogus"},
        {"/optimizer/lr", "fast", STEPD_INVALID, "config.optimizer.lr"},
        {"/optimizer/lr", -1, STEPD_INVALID, "config.optimizer.lr"},
        {"/optimizer/name", "adam9", STEPD_UNSUPPORTED, "adam9"},
        {"/optimizer/params/beta7", 0.5, STEPD_INVALID, "beta7"},
        {"/model", "", STEPD_INVALID, "config.model"},
        {"/model", "/nowhere", STEPD_NOT_FOUND, "/nowhere"},
        {"/family", "sdxl", STEPD_UNSUPPORTED, "sdxl"},
        {"/device", "cuda:0", STEPD_UNSUPPORTED, "cuda:0"},
        {"/dtype", "fp8", STEPD_UNSUPPORTED, "config.dtype"},
        {"/seed", -1, STEPD_INVALID, "config.seed"},
        {"/seed", 1.5, STEPD_INVALID, "config.seed"},
        {"/accumulation", -2, STEPD_INVALID, "config.accumulation"},
        {"/text_tokens", 0, STEPD_INVALID, "config.text_tokens"},
        {"/caption_dropout", 1.5, STEPD_INVALID, "config.caption_dropout"},
        {"/loss/type", "l3", STEPD_UNSUPPORTED, "config.loss.type"},
        {"/noise", {{"timesteps", "beta"}}, STEPD_UNSUPPORTED, "config.noise.timesteps"},
        {"/schedule", {{"name", "cosine"}}, STEPD_INVALID, "schedule.steps"},
        {"/clip", {{"norm", -1}}, STEPD_INVALID, "config.clip.norm"},
        {"/noise", {{"offset", -10.5}}, STEPD_INVALID, "config.noise.offset"},
        {"/ema", {{"decay", 2}}, STEPD_INVALID, "config.ema.decay"},
        {"/ema", {{"decay", 0.9}, {"constant", true}, {"warmup", true}}, STEPD_INVALID, "config.ema.constant"},
        {"/adapter", {{"type", "lora"}, {"rank", 2}, {"alpha", 2}, {"targets", {"to_z"}}}, STEPD_INVALID, "to_z"},
        {"/adapter", {{"type", "loha"}, {"rank", 2}, {"alpha", 2}}, STEPD_UNSUPPORTED, "loha"},
        {"/memory_budget", 4096, STEPD_OUT_OF_MEMORY, "Remedies"},
    };
    for (const Case& c : cases) {
        json config = tiny_json(model_);
        config[json::json_pointer(c.pointer)] = c.value;
        Answer answer;
        EXPECT_EQ(create(config, nullptr, answer), nullptr) << c.pointer;
        EXPECT_EQ(answer.error.code, c.code) << c.pointer << ": " << answer.message();
        EXPECT_NE(answer.message().find(c.in_message), std::string::npos) << c.pointer << ": " << answer.message();
        EXPECT_NE(std::string(answer.error.place).find(".cpp:"), std::string::npos) << answer.error.place;
    }
}

TEST_F(Api, a_constant_average_and_a_negative_offset_are_configurable) {
    json config = tiny_json(model_);
    config["ema"] = {{"decay", 0.9}, {"constant", true}};
    config["noise"] = {{"offset", -0.1}};
    Answer answer;
    session_ = create(config, nullptr, answer);
    ASSERT_TRUE(session_) << answer.message();
    close();
}

TEST_F(Api, plans_and_creations_can_be_cancelled) {
    stepd_cancellation* cancellation = stepd_cancellation_new();
    ASSERT_TRUE(cancellation);
    const std::string config = tiny_json(model_).dump();
    const json shape = {{"width", 16}, {"height", 16}, {"batch", 2}};
    const std::string request = json({{"config", tiny_json(model_)}, {"shapes", {shape}}}).dump();
    auto plan = [&](Answer& answer) {
        return stepd_plan(request.data(), request.size(), cancellation, &answer.buffer, &answer.error);
    };
    Answer first;
    EXPECT_EQ(plan(first), STEPD_OK) << first.message();
    stepd_cancellation_set(cancellation);
    stepd_cancellation_set(cancellation);
    Answer planned, created;
    EXPECT_EQ(plan(planned), STEPD_CANCELLED);
    EXPECT_EQ(stepd_session_create(config.data(), config.size(), nullptr, cancellation, &session_, &created.error),
              STEPD_CANCELLED);
    EXPECT_EQ(session_, nullptr);
    EXPECT_NE(created.message().find("loading"), std::string::npos) << created.message();
    stepd_cancellation_free(cancellation);
    stepd_cancellation_set(nullptr);
    stepd_cancellation_free(nullptr);
}

TEST_F(Api, bad_json_is_invalid) {
    open();
    const std::string deep(100, '[');
    for (const std::string& text :
         {std::string("{"), std::string("[1]"), std::string("[{\"batches\": 3}]"), std::string("7"), deep,
          std::string("[{\"batches\": [], \"batches\": []}]"), std::string("[{\"batches\": [{\"index\": 1e99}]}]"),
          std::string("\xff\xfe"), std::string("[{\"batches\": [{\"index\": 0, \"samples\": [\"a\"]}]}]")}) {
        Answer answer;
        EXPECT_EQ(train(text, answer), STEPD_INVALID) << text;
        EXPECT_NE(answer.message(), "") << text;
    }
    Answer empty;
    EXPECT_EQ(train("null", empty), STEPD_OK) << "no steps at all";
    EXPECT_EQ(empty.value(), json({{"steps", 0}, {"cancelled", false}}));
    close();
}

TEST_F(Api, null_arguments_are_invalid) {
    Answer answer;
    const std::string config = tiny_json(model_).dump();
    EXPECT_EQ(stepd_session_create(config.data(), config.size(), nullptr, nullptr, nullptr, &answer.error),
              STEPD_INVALID);
    stepd_session* session = nullptr;
    EXPECT_EQ(stepd_session_create(nullptr, 5, nullptr, nullptr, &session, &answer.error), STEPD_INVALID);
    EXPECT_EQ(stepd_session_create(nullptr, 0, nullptr, nullptr, &session, nullptr), STEPD_INVALID)
        << "no error struct";
    EXPECT_EQ(stepd_info(nullptr, &answer.error), STEPD_INVALID);
    EXPECT_EQ(stepd_probe(nullptr, 0, &answer.buffer, &answer.error), STEPD_NOT_FOUND);
    EXPECT_EQ(stepd_session_train(nullptr, "[]", 2, &answer.buffer, &answer.error), STEPD_INVALID);
    EXPECT_EQ(stepd_session_step(nullptr), -1);
    stepd_session_cancel(nullptr);
    stepd_session_resume(nullptr);
    stepd_session_destroy(nullptr);
    stepd_buffer_free(nullptr);
    open();
    EXPECT_EQ(stepd_session_train(session_, "[]", 2, nullptr, &answer.error), STEPD_INVALID);
    close();
}

TEST_F(Api, a_destroyed_session_is_an_error_not_a_crash) {
    open();
    close();
    close();  // again
    Answer answer;
    EXPECT_EQ(train("[]", answer), STEPD_INVALID);
    EXPECT_EQ(stepd_session_step(session_), -1);
}

TEST_F(Api, a_small_error_struct_is_left_alone) {
    stepd_error error{};
    error.struct_size = 8;
    error.code = 77;
    EXPECT_EQ(stepd_probe("/nowhere", 8, nullptr, &error), STEPD_NOT_FOUND);
    EXPECT_EQ(error.code, 77);
}

TEST_F(Api, long_messages_are_cut_between_characters) {
    std::string path = "/";
    while (path.size() < 3000) path += "\xc3\xa9";
    Answer answer;
    EXPECT_NE(stepd_probe(path.data(), path.size(), &answer.buffer, &answer.error), STEPD_OK);
    EXPECT_LT(answer.message().size(), sizeof answer.error.message);
    EXPECT_NO_THROW(json(answer.message()).dump()) << "not UTF-8";
}

TEST_F(Api, a_call_from_a_callback_is_refused) {
    struct Nested {
        stepd_session* session = nullptr;
        stepd_status status = STEPD_OK;
        static void on_event(void* user, int32_t kind, const char*, size_t) {
            auto* self = static_cast<Nested*>(user);
            if (kind != STEPD_EVENT_STEP) return;
            Answer answer;
            self->status = stepd_session_train(self->session, "[]", 2, &answer.buffer, &answer.error);
        }
    } nested;
    stepd_callbacks callbacks = {sizeof(stepd_callbacks), &nested, Nested::on_event};
    open(&callbacks);
    nested.session = session_;
    set_samples();
    Answer answer;
    EXPECT_EQ(train(kTwoSteps, answer), STEPD_OK);
    EXPECT_EQ(nested.status, STEPD_STATE);
    close();
}

TEST_F(Api, plans_probes_and_makes_models) {
    Answer plan, probe, made, bench;
    const std::string request =
        json({{"config", tiny_json(model_)}, {"shapes", {{{"width", 16}, {"height", 16}, {"batch", 2}}}}}).dump();
    ASSERT_EQ(stepd_plan(request.data(), request.size(), nullptr, &plan.buffer, &plan.error), STEPD_OK)
        << plan.message();
    EXPECT_TRUE(plan.value().at("fits"));
    EXPECT_GT(plan.value().at("total"), plan.value().at("weights"));
    const std::string picture = std::string(STEPD_SOURCE_DIR) + "/examples/emoji/pictures/lemon.png";
    ASSERT_EQ(stepd_probe(picture.data(), picture.size(), &probe.buffer, &probe.error), STEPD_OK);
    EXPECT_EQ(probe.value(), json({{"width", 64}, {"height", 64}, {"format", "png"}}));
    const TemporaryFolder folder;
    const std::string init =
        json({{"family", "pixart"}, {"config", model_ / "transformer.json"}, {"out", folder / "t"}}).dump();
    EXPECT_EQ(stepd_init_model(init.data(), init.size(), &made.error), STEPD_OK) << made.message();
    const std::string encoder = json({{"family", "pixart"},
                                      {"component", "text_encoder"},
                                      {"config", model_ / "text_encoder/config.json"},
                                      {"out", folder / "e"}})
                                    .dump();
    EXPECT_EQ(stepd_init_model(encoder.data(), encoder.size(), &made.error), STEPD_OK) << made.message();
    EXPECT_TRUE(std::filesystem::exists(folder / "e/model.safetensors"));
    const std::string unknown = R"({"cases": ["pixart-12B"]})";
    EXPECT_EQ(stepd_bench(unknown.data(), unknown.size(), &bench.buffer, &bench.error), STEPD_INVALID);
    EXPECT_NE(bench.message().find("pixart-demo"), std::string::npos);
}

}  // namespace
}  // namespace stepd
