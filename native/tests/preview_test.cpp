// Previews of samples: when they come, what they show, and that they change nothing.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "models/autoencoder_tiny.h"
#include "tests/expect_error.h"
#include "tiny_model.h"

namespace stepd {
namespace {

using test::open_session;
using test::tiny_config;
using test::TinyModel;

SampleRequest request_of(const TemporaryFolder& folder, int64_t steps, int64_t every) {
    SampleRequest r;
    r.ids = {5, 9, 1};
    r.negative_ids = {1};
    r.width = 32;
    r.height = 16;
    r.steps = steps;
    r.guidance = 2;
    r.seed = 4;
    r.out = folder / "out.png";
    if (every > 0) r.preview = PreviewRequest{every, folder / "preview-{step}.png"};
    return r;
}

struct Recorder {
    std::vector<PreviewEvent> events;
    EventSink sink() {
        EventSink sink;
        sink.on_preview = [this](const PreviewEvent& e) { events.push_back(e); };
        return sink;
    }
    std::vector<int64_t> steps() const {
        std::vector<int64_t> steps;
        for (const PreviewEvent& e : events) steps.push_back(e.step);
        return steps;
    }
};

// Gives the model a tiny autoencoder with random weights.
void add_tiny_autoencoder(const TinyModel& model, int64_t channels = test::kChannels) {
    const nlohmann::json config = {{"_class_name", "AutoencoderTiny"},
                                   {"latent_channels", channels},
                                   {"decoder_block_out_channels", {8, 8, 8}},
                                   {"num_decoder_blocks", {1, 1, 1}}};
    std::filesystem::create_directory(model / "taesd");
    write_file(model / "taesd/config.json", config.dump());
    Generator generator(2);
    std::vector<std::vector<float>> values;
    std::vector<SafeTensorSource> tensors;
    const auto decoder = make_autoencoder_tiny(config, "taesd");
    for (const ParameterSpec& p : decoder->parameters()) {
        values.push_back(generator.randn(numel(p.shape)));
        for (float& v : values.back()) v *= 0.2f;
        tensors.push_back(source_of(p.name, {values.back().data(), DType::f32, p.shape}, SafeType::f32));
    }
    write_safetensors(model / "taesd/diffusion_pytorch_model.safetensors", tensors);
}

TEST(LatentRgb, RecoversAnExactLinearMap) {
    constexpr int64_t channels = 3, factor = 2, side = 8;
    Generator generator(1);
    LatentRgbFit fit(channels, factor);
    auto colour = [](const float* x, int64_t c) { return 100 + 20 * x[c] - 10 * x[(c + 1) % 3]; };
    std::vector<float> latents = generator.rand(channels * side * side);
    Image picture{side * factor, side * factor};
    auto cell = [&](int64_t y, int64_t x) {
        std::array<float, 3> v{};
        for (int64_t c = 0; c < channels; c++) v[size_t(c)] = latents[size_t((c * side + y) * side + x)];
        return v;
    };
    for (int64_t y = 0; y < side * factor; y++)
        for (int64_t x = 0; x < side * factor; x++)
            for (int64_t c = 0; c < 3; c++)
                picture.row(int(y))[3 * x + c] = uint8_t(colour(cell(y / factor, x / factor).data(), c));
    fit.add(latents, picture);
    const Image shown = fit.solve().picture(latents, side, side, 1);
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++)
            for (int64_t c = 0; c < 3; c++)
                EXPECT_NEAR(shown.row(int(y))[3 * x + c], colour(cell(y, x).data(), c), 1.5);
}

TEST(LatentRgb, ChannelsThatNeverChangeAreNoObstacle) {
    LatentRgbFit fit(2, 1);
    Image picture{2, 1};
    picture.pixels = {0, 0, 0, 200, 100, 50};
    const std::vector<float> latents = {0, 1, 3, 3};
    fit.add(latents, picture);
    EXPECT_EQ(fit.solve().picture(latents, 1, 2, 1).pixels, picture.pixels);
}

TEST(Preview, ComesAtTheFirstStepThenAtTheIntervalAndAtTheLast) {
    const TemporaryFolder folder;
    Recorder recorder;
    auto session = open_session(test::tiny_model(), tiny_config(test::tiny_model()), recorder.sink());
    session->sample({request_of(folder, 20, 4), request_of(folder, 3, 10), request_of(folder, 2, 0)});
    EXPECT_EQ(recorder.steps(), (std::vector<int64_t>{1, 5, 9, 13, 17, 20, 1, 3}));
    EXPECT_EQ(recorder.events[6].request, 1);
    EXPECT_EQ(recorder.events[6].steps, 3);
    EXPECT_EQ(recorder.events[1].path, folder / "preview-5.png");
    EXPECT_GT(recorder.events[0].timestep, recorder.events[1].timestep);
    for (const PreviewEvent& e : recorder.events) {
        EXPECT_EQ(e.error, "");
        const Image preview = decode_image(e.path);
        EXPECT_EQ(preview.width, 32);
        EXPECT_EQ(preview.height, 16);
    }
}

TEST(Preview, LeavesThePictureAsItIsOnAnyNumberOfThreads) {
    for (bool tiny : {false, true}) {
        TinyModel model;
        if (tiny) add_tiny_autoencoder(model);
        std::vector<std::string> first;
        for (int threads : {1, 2, 5}) {
            const TemporaryFolder plain, shown;
            auto session = open_session(model, tiny_config(model), {}, threads);
            session->train(test::tiny_steps(0, 3));  // a new model predicts nothing at all
            session->sample({request_of(plain, 6, 0)});
            session->sample({request_of(shown, 6, 2)});
            EXPECT_TRUE(read_file(plain / "out.png") == read_file(shown / "out.png"));
            std::vector<std::string> files;
            for (const char* step : {"1", "3", "5", "6"})
                files.push_back(read_file(shown / ("preview-" + std::string(step) + ".png")));
            EXPECT_FALSE(files[0].empty());
            EXPECT_TRUE(files[0] != files[3]);
            if (first.empty()) first = files;
            EXPECT_TRUE(files == first) << threads << " threads";
        }
    }
}

TEST(Preview, IsWhatTheTinyAutoencoderMakes) {
    TinyModel model;
    const TemporaryFolder fitted, decoded;
    auto session = open_session(model, tiny_config(model));
    session->sample({request_of(fitted, 2, 1)});
    add_tiny_autoencoder(model);
    session->sample({request_of(decoded, 2, 1)});
    EXPECT_TRUE(read_file(fitted / "preview-2.png") != read_file(decoded / "preview-2.png"));
    EXPECT_TRUE(read_file(fitted / "out.png") == read_file(decoded / "out.png"));
}

TEST(Preview, NeedsNoData) {
    const TemporaryFolder folder;
    SessionConfig config = tiny_config(test::tiny_model());
    config.sample_only = true;
    Recorder recorder;
    Session(config, recorder.sink()).sample({request_of(folder, 2, 1)});
    EXPECT_EQ(recorder.steps(), (std::vector<int64_t>{1, 2}));
    EXPECT_EQ(recorder.events[0].error, "");
}

TEST(Preview, FailuresAreReportedOnceAndCostNoPicture) {
    TinyModel model;
    add_tiny_autoencoder(model, 3);  // of another model
    const TemporaryFolder folder;
    Recorder recorder;
    auto session = open_session(model, tiny_config(model), recorder.sink());
    session->sample({request_of(folder, 4, 1), request_of(folder, 4, 1)});
    ASSERT_EQ(recorder.events.size(), 1u);
    EXPECT_EQ(recorder.events[0].path, "");
    expect_contains(recorder.events[0].error, "taesd/config.json");
    EXPECT_TRUE(std::filesystem::exists(folder / "out.png"));

    std::filesystem::remove_all(model / "taesd");
    SampleRequest nowhere = request_of(folder, 4, 1);
    nowhere.preview->out = folder / "absent/{step}.png";
    session->sample({nowhere});
    ASSERT_EQ(recorder.events.size(), 2u);
    expect_contains(recorder.events[1].error, "absent");
}

TEST(Preview, RequestsThatMakeNoSenseAreRefused) {
    const TemporaryFolder folder;
    auto session = open_session(test::tiny_model(), tiny_config(test::tiny_model()));
    SampleRequest r = request_of(folder, 4, 1);
    r.preview->every = 0;
    expect_contains(message_of(Code::invalid, [&] { session->sample({r}); }), "preview.every");
    r.preview = PreviewRequest{1, folder / "always-the-same.png"};
    expect_contains(message_of(Code::invalid, [&] { session->sample({r}); }), "preview.out");
}

}  // namespace
}  // namespace stepd
