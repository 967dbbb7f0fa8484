// A complete model folder small enough to train in milliseconds: the text encoder and autoencoder of the emoji example
// and a transformer of one layer; and a data set of cached samples for it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/random.h"
#include "io/safetensors.h"
#include "temporary_folder.h"
#include "train/init_model.h"
#include "train/session.h"

namespace stepd::test {

constexpr int64_t kChannels = 8, kTextWidth = 128, kTextTokens = 6;

class TinyModel {
public:
    TinyModel() {
        namespace fs = std::filesystem;
        const fs::path source = fs::path(STEPD_SOURCE_DIR) / "examples/emoji/model";
        for (const char* part : {"scheduler", "text_encoder", "vae", "model_index.json"})
            fs::create_symlink(source / part, folder_ / part);
        write_file(folder_ / "transformer.json", R"({"_class_name": "PixArtTransformer2DModel", "num_layers": 1,
            "num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32, "caption_channels": 128,
            "in_channels": 8, "out_channels": 16, "sample_size": 16, "patch_size": 2, "interpolation_scale": 1,
            "attention_bias": true, "activation_fn": "gelu-approximate", "norm_type": "ada_norm_single",
            "norm_elementwise_affine": false, "norm_eps": 1e-6, "use_additional_conditions": false})");
        init_model({"pixart", "transformer", folder_ / "transformer.json", 7, folder_ / "transformer", "fp32"});
        write_samples();
    }

    std::string path() const { return folder_.path().string(); }
    const std::vector<SampleFiles>& samples() const { return samples_; }
    std::string empty() const { return folder_ / "empty.safetensors"; }
    std::string operator/(const std::string& name) const { return folder_ / name; }

    // A file of latent moments whose every number is `value`.
    std::string constant_latents(const std::string& name, float value) const {
        std::vector<float> v(size_t(kChannels * 4 * 4), value);
        const Tensor t{v.data(), DType::f32, {kChannels, 4, 4}};
        write_safetensors(folder_ / name, {source_of("mean", t, SafeType::f32), source_of("logvar", t, SafeType::f32)});
        return folder_ / name;
    }

private:
    void write_samples() {
        Generator generator(3);
        auto write = [&](const std::string& file, std::vector<std::pair<std::string, Shape>> arrays) {
            std::vector<std::vector<float>> values;
            std::vector<SafeTensorSource> sources;
            for (const auto& [name, shape] : arrays) values.push_back(generator.randn(numel(shape)));
            for (size_t i = 0; i < arrays.size(); i++)
                sources.push_back(
                    source_of(arrays[i].first, {values[i].data(), DType::f32, arrays[i].second}, SafeType::f32));
            write_safetensors(file, sources);
        };
        for (int64_t i = 0; i < 4; i++) {
            const std::string name = std::to_string(i) + ".safetensors";
            samples_.push_back({folder_ / ("latents" + name), folder_ / ("text" + name)});
            write(samples_.back().latents, {{"mean", {kChannels, 4, 4}}, {"logvar", {kChannels, 4, 4}}});
            write(samples_.back().text, {{"embedding", {2 + i, kTextWidth}}});
        }
        write(empty(), {{"embedding", {1, kTextWidth}}});
    }

    TemporaryFolder folder_;
    std::vector<SampleFiles> samples_;
};

// One for all tests that do not change it: files are flushed to disk when written, which takes longer than a test.
inline const TinyModel& tiny_model() {
    static const TinyModel model;
    return model;
}

inline SessionConfig tiny_config(const TinyModel& model) {
    SessionConfig c;
    c.model = model.path();
    c.seed = 11;
    c.optimizer.lr = 1e-2;
    c.text_tokens = kTextTokens;
    return c;
}

inline AdapterConfig tiny_adapter() {
    AdapterConfig a;
    a.rank = 3;
    a.alpha = 3;
    return a;
}

// Steps [first, last) of a run with two samples a micro-batch.
inline std::vector<TrainStep> tiny_steps(int64_t first, int64_t last, int64_t accumulation = 1) {
    std::vector<TrainStep> steps;
    for (int64_t s = first; s < last; s++) {
        TrainStep& step = steps.emplace_back();
        for (int64_t m = 0; m < accumulation; m++) {
            const int64_t k = s * accumulation + m;
            step.batches.push_back({k, {k % 4, (k + 1) % 4}});
        }
    }
    return steps;
}

// A session with the data set.
inline std::unique_ptr<Session> open_session(const TinyModel& model, const SessionConfig& config, EventSink sink = {},
                                             int threads = 2) {
    auto session = std::make_unique<Session>(config, std::move(sink), threads);
    session->set_samples(model.samples(), model.empty());
    return session;
}

// The bytes of everything that a checkpoint of the session holds, by file name.
inline std::map<std::string, std::string> checkpoint_of(Session& session) {
    const TemporaryFolder folder;
    std::map<std::string, std::string> files;
    for (const std::string& name : session.save(folder.path().string())) files[name] = read_file(folder / name);
    return files;
}

}  // namespace stepd::test
