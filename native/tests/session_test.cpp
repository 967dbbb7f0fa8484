// Training, encoding and sampling through a whole session.
#include "train/session.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <fstream>

#include "backend/cpu.h"
#include "base/error.h"
#include "models/folder.h"
#include "tiny_model.h"

namespace stepd {
namespace {

using test::checkpoint_of;
using test::open_session;
using test::tiny_config;
using test::tiny_steps;
using test::TinyModel;

// Code and message of the error that `body` throws.
template <class Body>
std::pair<Code, std::string> error_of(const Body& body) {
    try {
        body();
    } catch (const Error& e) {
        return {e.code(), e.what()};
    }
    return {Code::ok, ""};
}

SampleRequest tiny_request(const std::string& out) {
    SampleRequest r;
    r.ids = {5, 9, 1};
    r.negative_ids = {1};
    r.width = r.height = 16;
    r.steps = 3;
    r.guidance = 2;
    r.seed = 4;
    r.out = out;
    return r;
}

TEST(Session, reports_every_step) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.schedule = {.name = "constant_with_warmup", .warmup = 2};
    std::vector<StepEvent> events;
    auto session = open_session(model, config, {[&](const StepEvent& e) { events.push_back(e); }, {}});
    TrainResult result = session->train(tiny_steps(0, 3));
    EXPECT_EQ(result.steps, 3);
    EXPECT_FALSE(result.cancelled);
    EXPECT_EQ(session->step(), 3);
    ASSERT_EQ(events.size(), 3u);
    for (size_t i = 0; i < 3; i++) {
        EXPECT_EQ(events[i].step, int64_t(i) + 1);
        EXPECT_GT(events[i].loss, 0);
        EXPECT_GT(events[i].grad_norm, 0);
    }
    EXPECT_EQ(events[0].lr, 0);
    EXPECT_DOUBLE_EQ(events[1].lr, 0.005);
    EXPECT_DOUBLE_EQ(events[2].lr, 0.01);
}

TEST(Session, learns_a_micro_batch_by_heart) {
    const TinyModel& model = test::tiny_model();
    std::vector<double> losses;
    auto session = open_session(model, tiny_config(model), {[&](const StepEvent& e) { losses.push_back(e.loss); }, {}});
    session->train(std::vector<TrainStep>(60, TrainStep{{{0, {0, 1}}}}));  // the same index: the same noise
    EXPECT_LT(losses.back(), 0.5 * losses.front());
}

TEST(Session, result_does_not_depend_on_threads) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    for (DType dtype : {DType::f32, DType::bf16}) {
        config.dtype = config.weight_dtype = dtype;
        config.optimizer.name = dtype == DType::f32 ? "adamw" : "adamw_bf16";
        config.clip.norm = 0.5;
        auto one = open_session(model, config, {}, 1), two = open_session(model, config, {}, 2);
        one->train(tiny_steps(0, 3));
        two->train(tiny_steps(0, 3));
        EXPECT_EQ(checkpoint_of(*one), checkpoint_of(*two)) << name_of(dtype);
    }
}

TEST(Session, accumulation_averages_or_sums) {
    const TinyModel& model = test::tiny_model();
    std::vector<double> norms;
    for (bool sum : {false, true}) {
        SessionConfig config = tiny_config(model);
        config.accumulation = 2;
        config.accumulate_sum = sum;
        auto session = open_session(model, config, {[&](const StepEvent& e) { norms.push_back(e.grad_norm); }, {}});
        session->train(tiny_steps(0, 1, 2));
    }
    ASSERT_EQ(norms.size(), 2u);
    EXPECT_NEAR(norms[1], 2 * norms[0], 1e-5 * norms[1]);
}

TEST(Session, a_loss_that_is_not_finite_changes_nothing) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    auto session = open_session(model, config);
    session->train(tiny_steps(0, 1));
    const auto before = checkpoint_of(*session);
    std::vector<SampleFiles> bad = model.samples();
    bad[2].latents = model.constant_latents("nan.safetensors", NAN);
    session->set_samples(bad, model.empty());
    auto [code, message] = error_of([&] { session->train({{{{1, {2, 3}}}}}); });
    EXPECT_EQ(code, Code::numeric);
    EXPECT_NE(message.find("step 2"), std::string::npos) << message;
    EXPECT_NE(message.find("samples 2, 3"), std::string::npos) << message;
    EXPECT_EQ(session->step(), 1);
    EXPECT_EQ(checkpoint_of(*session), before);
    session->set_samples(model.samples(), model.empty());
    EXPECT_EQ(session->train(tiny_steps(1, 2)).steps, 1);
}

TEST(Checkpoint, weights_that_are_not_finite_are_not_saved) {
    const TinyModel& model = test::tiny_model();
    const SessionConfig config = tiny_config(model);
    const Model opened(config);
    const ParameterLayout layout = make_layout(opened, config);
    const OptimizerMethod& method = find_optimizer("adamw");
    ParameterStore store(layout, method, false);
    EXPECT_EQ(error_of([&] { save_checkpoint(model.path(), config, method, store, 0); }).first, Code::ok);
    store.weight(3).f32()[1] = INFINITY;
    auto [code, message] = error_of([&] { save_checkpoint(model.path(), config, method, store, 0); });
    EXPECT_EQ(code, Code::numeric);
    EXPECT_NE(message.find(layout.entries()[3].spec->name), std::string::npos) << message;
}

TEST(Checkpoint, optimizer_state_and_average_that_are_not_finite_are_not_saved) {
    const TinyModel& model = test::tiny_model();
    const SessionConfig config = tiny_config(model);
    const Model opened(config);
    const ParameterLayout layout = make_layout(opened, config);
    const OptimizerMethod& method = find_optimizer("adamw_bf16");
    for (bool average : {false, true}) {
        ParameterStore store(layout, method, average);
        store.start_training();
        const TrainedTensor& t = store.trained()[2];
        if (average)
            t.average[1] = NAN;
        else
            static_cast<bf16*>(t.state[1])[1] = to_bf16(INFINITY);
        auto [code, message] = error_of([&] { save_checkpoint(model.path(), config, method, store, 0); });
        EXPECT_EQ(code, Code::numeric);
        EXPECT_NE(message.find(t.name), std::string::npos) << message;
        EXPECT_NE(message.find(average ? "ema" : "optimizer"), std::string::npos) << message;
    }
}

TEST(Session, cancel_takes_effect_at_the_end_of_a_step) {
    const TinyModel& model = test::tiny_model();
    Session* running = nullptr;
    auto session = open_session(model, tiny_config(model),
                                {[&](const StepEvent& e) {
                                     if (e.step == 2) running->cancel();
                                 },
                                 {}});
    running = session.get();
    TrainResult result = session->train(tiny_steps(0, 5));
    EXPECT_EQ(result.steps, 2);
    EXPECT_TRUE(result.cancelled);
    EXPECT_EQ(session->train(tiny_steps(2, 5)).steps, 0) << "a cancellation stays until resume";
    session->resume();
    result = session->train(tiny_steps(2, 5));
    EXPECT_EQ(result.steps, 3);
    EXPECT_FALSE(result.cancelled);
    auto straight = open_session(model, tiny_config(model));
    straight->train(tiny_steps(0, 5));
    EXPECT_EQ(checkpoint_of(*session), checkpoint_of(*straight));
}

TEST(Session, what_does_not_fit_is_refused_with_sizes) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.memory_budget = 1 << 16;
    auto [code, message] = error_of([&] { Session session(config, {}); });
    EXPECT_EQ(code, Code::out_of_memory);
    EXPECT_NE(message.find("optimizer"), std::string::npos) << message;
    config.memory_budget = plan_state(make_layout(Model(config), config), config).state() + 1024;
    auto session = open_session(model, config);
    auto [later, text] = error_of([&] { session->train(tiny_steps(0, 1)); });
    EXPECT_EQ(later, Code::out_of_memory);
    EXPECT_NE(text.find("micro-batch of 2"), std::string::npos) << text;
    EXPECT_EQ(error_of([&] { session->sample({tiny_request(model / "small.png")}); }).first, Code::out_of_memory);
    EXPECT_EQ(error_of([&] { session->train(tiny_steps(0, 1)); }).first, Code::out_of_memory) << "it stays usable";
}

TEST(Session, checkpointing_gives_the_same_result_with_less_memory) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.model = model.path();
    const std::vector<PixelShape> shapes = {{64, 64, 6, 4}};
    const MemoryPlan kept = plan_memory(Model(config), config, shapes, 2);
    auto one = open_session(model, config);
    one->train(tiny_steps(0, 2));
    config.gradient_checkpointing = true;
    const MemoryPlan recomputed = plan_memory(Model(config), config, shapes, 2);
    EXPECT_LT(recomputed.activations, kept.activations);
    EXPECT_GT(recomputed.recomputed, 0);
    auto two = open_session(model, config);
    two->train(tiny_steps(0, 2));
    EXPECT_EQ(checkpoint_of(*one), checkpoint_of(*two));
}

TEST(Session, refuses_data_that_does_not_fit_the_model) {
    const TinyModel& model = test::tiny_model();
    auto session = open_session(model, tiny_config(model));
    std::vector<SampleFiles> swapped = {{model.samples()[0].text, model.samples()[0].text}};
    EXPECT_EQ(error_of([&] { session->set_samples(swapped, ""); }).first, Code::not_found);
    EXPECT_EQ(error_of([&] { session->train({{{{0, {9}}}}}); }).first, Code::invalid);
    EXPECT_EQ(error_of([&] { session->train({{{}}}); }).first, Code::invalid);
    EXPECT_EQ(error_of([&] { session->train(tiny_steps(0, 1, 2)); }).first, Code::invalid) << "accumulation is 1";
}

TEST(Session, a_dropped_caption_needs_the_empty_one) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.caption_dropout = 1;
    auto session = open_session(model, config);
    session->set_samples(model.samples(), "");
    auto [code, message] = error_of([&] { session->train(tiny_steps(0, 1)); });
    EXPECT_EQ(code, Code::invalid);
    EXPECT_NE(message.find("empty caption"), std::string::npos);
}

TEST(Session, encodes_pictures_and_captions) {
    const TinyModel& model = test::tiny_model();
    auto session = open_session(model, tiny_config(model));
    ImageItem item;
    item.path = std::string(STEPD_SOURCE_DIR) + "/examples/emoji/pictures/lemon.png";
    item.resize_width = item.resize_height = 40;
    item.crop_x = 4;
    item.crop_y = 8;
    item.width = item.height = 32;
    item.flip_y = true;
    item.out = model / "lemon.safetensors";
    session->encode_images({item});
    const SafetensorsReader moments(item.out);
    EXPECT_EQ(moments.at("mean").shape, (Shape{test::kChannels, 8, 8}));
    EXPECT_EQ(moments.at("logvar").shape, (Shape{test::kChannels, 8, 8}));
    session->encode_text({{{7, 3, 1}, model / "caption.safetensors"}});
    EXPECT_EQ(SafetensorsReader(model / "caption.safetensors").at("embedding").shape, (Shape{3, test::kTextWidth}));
    session->set_samples({{item.out, model / "caption.safetensors"}}, "");
    EXPECT_EQ(session->train({{{{0, {0}}}}}).steps, 1);
    session->cancel();
    EXPECT_EQ(error_of([&] { session->encode_images({item}); }).first, Code::cancelled);
    EXPECT_EQ(error_of([&] { session->encode_text({{{1}, model / "caption.safetensors"}}); }).first, Code::cancelled);
    session->resume();
    item.crop_x = 20;
    EXPECT_EQ(error_of([&] { session->encode_images({item}); }).first, Code::invalid);
}

// Bytes of address space of this process. An arena is mapped by itself, so that it leaves at once when it is released;
// the address sanitizer keeps what is released.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kReleasedAtOnce = false;
#else
constexpr bool kReleasedAtOnce = true;
#endif
int64_t mapped_bytes() {
    std::ifstream file("/proc/self/statm");
    int64_t pages = 0;
    file >> pages;
    return pages * sysconf(_SC_PAGESIZE);
}

TEST(Session, encoding_between_steps_leaves_the_training_as_it_is_without_its_memory) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.accumulation = 2;
    ImageItem item;
    item.path = std::string(STEPD_SOURCE_DIR) + "/examples/emoji/pictures/lemon.png";
    item.resize_width = item.resize_height = item.width = item.height = 256;
    item.out = model / "large.safetensors";
    const TextItem caption{{7, 3, 1}, model / "between.safetensors"};
    auto straight = open_session(model, config), encoding = open_session(model, config);
    for (Session* session : {straight.get(), encoding.get()}) {
        session->encode_images({item});
        session->encode_text({caption});
        std::vector<SampleFiles> samples = model.samples();
        samples.push_back({item.out, caption.out});
        session->set_samples(samples, model.empty());
    }
    const int64_t arena = plan_memory(Model(config), config, {{256, 256, 0, 1}}, 2).activations;
    for (int64_t k = 0; k < 6; k += 2) {
        const std::vector<TrainStep> step = {{{{k, {4}}, {k + 1, {0, 1}}}}};
        straight->train(step);
        encoding->train(step);
        const int64_t before = mapped_bytes();
        k == 0 ? encoding->encode_text({caption}) : encoding->encode_images({item});
        if (kReleasedAtOnce) {
            EXPECT_LT(mapped_bytes(), before - arena / 2) << "of an arena of " << arena << " bytes";
        }
    }
    EXPECT_EQ(checkpoint_of(*encoding), checkpoint_of(*straight));
}

TEST(Session, a_caption_means_the_same_whatever_its_padding) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.text_tokens = 64;
    const auto backend = make_cpu_backend(2);
    const Folder folder(model.path());
    TextEncoderRunner encoder(folder, find_family("", &folder), DType::f32, *backend);
    const std::vector<int32_t> few = {8, 4, 2, 1};
    std::vector<int32_t> many(40, 6);
    const std::vector<float> first = encoder.encode(few);
    encoder.encode(many);
    EXPECT_EQ(encoder.encode(few), first) << "a longer caption in between left something behind";
    EXPECT_EQ(first.size(), 4 * size_t(encoder.width()));
}

TEST(Session, samples_the_same_picture_for_the_same_seed) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.ema.emplace();
    auto session = open_session(model, config);
    session->train(tiny_steps(0, 5));
    SampleRequest a = tiny_request(model / "a.png"), b = tiny_request(model / "b.png"),
                  c = tiny_request(model / "c.png"), d = tiny_request(model / "d.png");
    c.seed = 5;
    d.ema = true;
    session->sample({a, b, c, d});
    EXPECT_EQ(read_file(a.out), read_file(b.out));
    EXPECT_NE(read_file(a.out), read_file(c.out));
    EXPECT_NE(read_file(a.out), read_file(d.out)) << "the average is not the last weights";
    const auto before = checkpoint_of(*session);
    session->sample({d});
    EXPECT_EQ(checkpoint_of(*session), before) << "sampling changed the weights";
    a.width = 17;
    EXPECT_EQ(error_of([&] { session->sample({a}); }).first, Code::invalid);
}

TEST(Session, refuses_pictures_that_do_not_fit_before_it_allocates) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.memory_budget = int64_t(256) << 20;
    auto session = open_session(model, config);
    session->train(tiny_steps(0, 1));
    const auto before = checkpoint_of(*session);
    SampleRequest large = tiny_request(model / "large.png"), small = tiny_request(model / "small.png");
    large.width = large.height = 4096;
    auto [code, message] = error_of([&] { session->sample({large}); });
    EXPECT_EQ(code, Code::out_of_memory);
    EXPECT_NE(message.find("4096x4096"), std::string::npos) << message;
    session->sample({small});
    EXPECT_EQ(checkpoint_of(*session), before);
}

TEST(Session, exported_weights_make_the_same_pictures) {
    const TinyModel& model = test::tiny_model();
    for (bool adapter : {false, true}) {
        SessionConfig config = tiny_config(model);
        if (adapter) config.adapter = test::tiny_adapter();
        auto session = open_session(model, config);
        session->train(tiny_steps(0, 4));
        SampleRequest trained = tiny_request(model / "trained.png"), loaded = tiny_request(model / "loaded.png");
        session->sample({trained});

        TinyModel other;
        SessionConfig reopened = tiny_config(other);
        reopened.sample_only = true;
        ExportRequest request;
        request.path = adapter ? other / "lora.safetensors" : other / "transformer";
        session->export_weights(request);
        if (adapter) {
            reopened.adapter = AdapterConfig{};  // rank and modules follow from the file
            reopened.adapter->init = request.path;
        }
        Session(reopened, {}).sample({loaded});
        EXPECT_EQ(read_file(trained.out), read_file(loaded.out)) << (adapter ? "lora" : "full");
        EXPECT_EQ(error_of([&] { Session(reopened, {}).train(tiny_steps(0, 1)); }).first, Code::state);
    }
}

TEST(Session, an_adapter_file_without_a_rank_is_refused) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.sample_only = true;
    config.adapter = AdapterConfig{};
    config.adapter->init = model / "scalar.safetensors";
    float value = 1;
    const std::string name = "transformer." + Model(tiny_config(model)).denoiser->linear_modules()[0].path;
    write_safetensors(config.adapter->init,
                      {source_of(name + ".lora_A.weight", {&value, DType::f32, {}}, SafeType::f32)});
    auto [code, message] = error_of([&] { Session session(config, {}); });
    EXPECT_EQ(code, Code::invalid);
    EXPECT_NE(message.find(name), std::string::npos) << message;
}

TEST(Session, exports_every_dtype) {
    const TinyModel& model = test::tiny_model();
    auto session = open_session(model, tiny_config(model));
    session->train(tiny_steps(0, 1));
    for (auto [dtype, type] : {std::pair{"fp32", SafeType::f32}, {"bf16", SafeType::bf16}, {"fp16", SafeType::f16}}) {
        ExportRequest request;
        request.path = model / dtype;
        request.dtype = dtype;
        session->export_weights(request);
        const SafetensorsReader full(model / "fp32"), reader(request.path);
        for (const SafeTensor& tensor : reader.tensors()) {
            EXPECT_EQ(tensor.type, type);
            std::vector<float> got(size_t(tensor.elements())), wanted(got.size());
            convert(tensor, 0, tensor.elements(), got.data(), DType::f32);
            convert(full.at(tensor.name), 0, tensor.elements(), wanted.data(), DType::f32);
            const float precision = type == SafeType::bf16 ? 0x1p-8f : 0x1p-11f;
            for (size_t i = 0; i < got.size(); i++)
                ASSERT_LE(std::abs(got[i] - wanted[i]), std::abs(wanted[i]) * precision + 3e-8f) << tensor.name;
        }
    }
    ExportRequest request;
    request.path = model / "x";
    request.dtype = "int8";
    EXPECT_EQ(error_of([&] { session->export_weights(request); }).first, Code::unsupported);
}

// The arena is shared, the inputs of a bucket are not.
TEST(Plan, counts_the_inputs_of_every_bucket) {
    const TinyModel& model = test::tiny_model();
    const SessionConfig config = tiny_config(model);
    const Model opened(config);
    auto activations = [&](const std::vector<PixelShape>& shapes) {
        return plan_memory(opened, config, shapes, 2).activations;
    };
    const PixelShape wide{32, 16, 6, 2}, square{16, 16, 6, 2};
    const int64_t one = activations({wide}), both = activations({wide, square});
    const int64_t latents = 2 * test::kChannels * 4 * 4 * 4, text = 2 * 6 * test::kTextWidth * 4;
    EXPECT_GE(both - one, 2 * latents + text) << "latents, target and text of the smaller bucket";
    EXPECT_EQ(activations({wide, wide}), one) << "a bucket named twice is one bucket";
}

TEST(Plan, is_what_a_session_allocates) {
    const TinyModel& model = test::tiny_model();
    SessionConfig config = tiny_config(model);
    config.ema.emplace();
    config.accumulation = 2;
    const Model opened(config);
    const MemoryPlan plan = plan_memory(opened, config, {{16, 16, 6, 2}}, 2);
    const int64_t n = plan.parameters;
    EXPECT_EQ(plan.trainable, n);
    EXPECT_NEAR(double(plan.weights), double(4 * n), 0.02 * double(plan.weights));
    EXPECT_NEAR(double(plan.gradients), double(4 * n), 0.02 * double(plan.gradients))
        << "one set, whatever accumulates";
    EXPECT_NEAR(double(plan.optimizer), double(8 * n), 0.02 * double(plan.optimizer));
    EXPECT_NEAR(double(plan.ema), double(4 * n), 0.02 * double(plan.ema));
    EXPECT_GT(plan.activations, 0);
    EXPECT_GT(plan.encoders, 0);
    EXPECT_GT(plan.flop, 0);
    EXPECT_TRUE(plan.fits);
    config.adapter = test::tiny_adapter();
    EXPECT_LT(plan_memory(Model(config), config, {{16, 16, 6, 2}}, 2).trainable, n / 4);
    config.memory_budget = 1 << 20;
    EXPECT_FALSE(plan_memory(Model(config), config, {{16, 16, 6, 2}}, 2).fits);
}

}  // namespace
}  // namespace stepd
