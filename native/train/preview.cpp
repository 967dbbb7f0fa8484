#include "train/preview.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "graph/plan.h"
#include "io/random.h"
#include "models/autoencoder_tiny.h"
#include "train/memory.h"

namespace stepd {
namespace {

constexpr const char* kTinyFolders[] = {"vae_tiny", "taesd"};
// The fit decodes so many examples, cut to so many cells a side: some thousand equations for a handful of unknowns.
constexpr int64_t kExamples = 8, kExampleSide = 16;

// The folder of the model's tiny autoencoder, empty when it has none.
std::string tiny_folder(const Folder& folder) {
    for (const char* name : kTinyFolders)
        if (std::filesystem::is_directory(folder.root() / name)) return name;
    return "";
}

// The middle of the latents, at most kExampleSide cells a side.
CleanLatents middle_of(const CleanLatents& all, int64_t channels) {
    CleanLatents part;
    part.height = std::min(all.height, kExampleSide);
    part.width = std::min(all.width, kExampleSide);
    const int64_t top = (all.height - part.height) / 2, left = (all.width - part.width) / 2;
    for (int64_t c = 0; c < channels; c++)
        for (int64_t y = 0; y < part.height; y++) {
            const auto row = all.values.begin() + (c * all.height + top + y) * all.width + left;
            part.values.insert(part.values.end(), row, row + part.width);
        }
    return part;
}

// Stands in for cached latents in a session without data: patches of constant normal numbers.
CleanLatents random_patches(Generator& generator, int64_t channels) {
    constexpr int64_t patch = 4, patches = kExampleSide / patch;
    const std::vector<float> values = generator.randn(channels * patches * patches);
    CleanLatents latents{{}, kExampleSide, kExampleSide};
    for (int64_t c = 0; c < channels; c++)
        for (int64_t y = 0; y < kExampleSide; y++)
            for (int64_t x = 0; x < kExampleSide; x++)
                latents.values.push_back(values[size_t((c * patches + y / patch) * patches + x / patch)]);
    return latents;
}

std::string with_step(std::string path, int64_t step) {
    const std::string placeholder = kPreviewStep, number = std::to_string(step);
    for (size_t at = 0; (at = path.find(placeholder, at)) != std::string::npos; at += number.size())
        path.replace(at, placeholder.size(), number);
    return path;
}

bool wanted(const PreviewRequest& preview, const SamplingStep& step) {
    return step.index == step.steps || (step.index - 1) % preview.every == 0;
}

}  // namespace

struct Previews::Tiny {
    Tiny(const Model& model, const std::string& name, Backend& backend)
        : decoder(make_autoencoder_tiny(model.folder.config(name), name)),
          weights(*decoder, model.folder.path_of(name), DType::f32),
          runner(*decoder, weights, backend) {
        STEPD_REQUIRE(
            decoder->latent_channels() == model.denoiser->latent_channels() && decoder->factor() == model.latent_factor,
            Code::invalid, name, "/config.json: ", decoder->latent_channels(), " latent channels and ",
            decoder->factor(), " pixels a cell, but the model has ", model.denoiser->latent_channels(), " and ",
            model.latent_factor, "; put the tiny autoencoder of this model there, or none");
    }

    // Previews come while the denoiser's own memory is in use. One that does not fit is a preview less, but a process
    // that the system ends for its memory is a run less.
    void require_fit(const SamplingStep& step) {
        if (checked_ == std::pair(step.height, step.width)) return;
        const int64_t bytes = make_plan(DecoderRunner::record(*decoder, step.height, step.width)).report.arena_bytes;
        const int64_t available = available_memory();
        STEPD_REQUIRE(bytes <= available, Code::out_of_memory, "a preview needs ", bytes >> 20, " MiB and ",
                      available >> 20, " MiB are available");
        checked_ = {step.height, step.width};
    }

    std::unique_ptr<LatentDecoder> decoder;
    ComponentWeights weights;
    DecoderRunner runner;

private:
    std::pair<int64_t, int64_t> checked_{0, 0};  // the size that was found to fit
};

Previews::Previews(const Model& model, DecoderRunner& autoencoder, const TrainingData& data, PreviewCache& cache,
                   Backend& backend, std::function<void(const PreviewEvent&)> report)
    : model_(model),
      autoencoder_(autoencoder),
      data_(data),
      cache_(cache),
      backend_(backend),
      report_(std::move(report)) {}

Previews::~Previews() = default;

void Previews::step(int64_t index, const SampleRequest& request, const SamplingStep& step) {
    if (!request.preview || failed_ || !wanted(*request.preview, step)) return;
    PreviewEvent event{index, step.index, step.steps, step.timestep, "", ""};
    try {
        const std::string path = with_step(request.preview->out, step.index);
        write_png(path, decode(step));
        event.path = path;
    } catch (const std::exception& e) {
        failed_ = true;
        event.error = e.what();
    }
    if (report_) report_(event);
}

Image Previews::decode(const SamplingStep& step) {
    const std::string name = tiny_folder(model_.folder);
    if (!name.empty()) {
        if (!tiny_) tiny_ = std::make_unique<Tiny>(model_, name, backend_);
        tiny_->require_fit(step);
        return tiny_->runner.decode(step.clean, step.height, step.width);
    }
    if (!cache_.fit) cache_.fit = fit();
    return cache_.fit->picture(step.clean, step.height, step.width, model_.latent_factor);
}

LatentRgb Previews::fit() const {
    const int64_t channels = model_.denoiser->latent_channels(), samples = int64_t(data_.size());
    LatentRgbFit fit(channels, model_.latent_factor);
    Generator generator(0);
    const int64_t examples = samples > 0 ? std::min(samples, kExamples) : kExamples;
    for (int64_t i = 0; i < examples; i++) {
        const CleanLatents latents = samples > 0
                                         ? middle_of(data_.clean_latents(size_t(i * samples / examples)), channels)
                                         : random_patches(generator, channels);
        fit.add(latents.values, autoencoder_.decode(latents.values, latents.height, latents.width));
    }
    return fit.solve();
}

}  // namespace stepd
