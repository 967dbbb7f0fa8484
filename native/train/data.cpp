#include "train/data.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "io/safetensors.h"

namespace stepd {

TrainingData::TrainingData(const Denoiser& denoiser, const LatentScale& scale, int64_t text_tokens)
    : denoiser_(denoiser), scale_(scale), text_tokens_(text_tokens) {}

void TrainingData::set(std::vector<SampleFiles> samples, const std::string& empty) {
    std::vector<Entry> entries;
    const int64_t patch = denoiser_.patch_size();
    for (SampleFiles& files : samples) {
        SafetensorsReader reader(files.latents);
        const Shape shape = reader.at("mean").shape;
        STEPD_REQUIRE(shape.size() == 3 && shape[0] == denoiser_.latent_channels() && shape[1] % patch == 0 &&
                          shape[2] % patch == 0 && reader.at("logvar").shape == shape,
                      Code::invalid, files.latents, ": mean ", to_string(shape), " and logvar ",
                      to_string(reader.at("logvar").shape), " should both be [", denoiser_.latent_channels(),
                      ", height, width] with sides that are multiples of ", patch);
        check_text(files.text);
        entries.push_back({std::move(files), shape[1], shape[2]});
    }
    if (!empty.empty()) check_text(empty);
    samples_ = std::move(entries);
    empty_ = empty;
}

void TrainingData::check_text(const std::string& file) const {
    SafetensorsReader reader(file);
    const Shape& shape = reader.at("embedding").shape;
    STEPD_REQUIRE(shape.size() == 2 && shape[1] == denoiser_.text_width() && shape[0] >= 1, Code::invalid, file,
                  ": embedding ", to_string(shape), " should be [tokens, ", denoiser_.text_width(), "]");
    STEPD_REQUIRE(shape[0] <= text_tokens_, Code::invalid, file, ": the embedding has ", shape[0],
                  " tokens, more than config.text_tokens = ", text_tokens_);
}

Bucket TrainingData::bucket(std::span<const int64_t> samples) const {
    STEPD_REQUIRE(!samples.empty(), Code::invalid, "a micro-batch has no samples");
    for (int64_t s : samples)
        STEPD_REQUIRE(s >= 0 && s < int64_t(samples_.size()), Code::invalid, "sample ", s,
                      " of a micro-batch: there are ", samples_.size());
    const Entry& first = samples_[size_t(samples[0])];
    for (int64_t s : samples) {
        const Entry& entry = samples_[size_t(s)];
        STEPD_REQUIRE(entry.height == first.height && entry.width == first.width, Code::invalid,
                      "a micro-batch mixes latents of ", first.width, "x", first.height, " (sample ", samples[0],
                      ") and ", entry.width, "x", entry.height, " (sample ", s, ")");
    }
    return {int64_t(samples.size()), first.height, first.width, text_tokens_};
}

CleanLatents TrainingData::clean_latents(size_t sample) const {
    const Entry& entry = samples_.at(sample);
    CleanLatents latents{{}, entry.height, entry.width};
    latents.values.resize(size_t(denoiser_.latent_channels() * entry.height * entry.width));
    load_latents(entry, nullptr, latents.values);
    return latents;
}

void TrainingData::load_latents(const Entry& entry, const float* eps, std::vector<float>& x0) const {
    SafetensorsReader reader(entry.files.latents);
    const SafeTensor& mean = reader.at("mean");
    const Shape expected = {denoiser_.latent_channels(), entry.height, entry.width};
    STEPD_REQUIRE(mean.shape == expected, Code::invalid, entry.files.latents, ": changed since it was listed: mean ",
                  to_string(mean.shape), " should be ", to_string(expected));
    convert(mean, 0, mean.elements(), x0.data(), DType::f32);
    if (eps) {
        const SafeTensor& stored = reader.at("logvar");
        STEPD_REQUIRE(stored.shape == mean.shape, Code::invalid, entry.files.latents, ": logvar ",
                      to_string(stored.shape), " should have the shape of mean, ", to_string(mean.shape));
        std::vector<float> logvar(x0.size());
        convert(stored, 0, stored.elements(), logvar.data(), DType::f32);
        for (size_t i = 0; i < x0.size(); i++) {
            const float deviation = std::exp(0.5f * std::clamp(logvar[i], -30.f, 20.f));
            x0[i] = x0[i] + deviation * eps[i];
        }
    }
    for (float& x : x0) x = (x - float(scale_.shift)) * float(scale_.scale);
}

void TrainingData::load_text(const std::string& file, int64_t row, TrainingInputs& inputs) const {
    SafetensorsReader reader(file);
    const SafeTensor& embedding = reader.at("embedding");
    const int64_t width = denoiser_.text_width();
    STEPD_REQUIRE(embedding.shape.size() == 2 && embedding.shape[0] <= text_tokens_ && embedding.shape[1] == width,
                  Code::invalid, file, ": changed since it was listed: embedding ", to_string(embedding.shape),
                  " should be [at most ", text_tokens_, " tokens, ", width, "]");
    const int64_t length = embedding.shape[0];
    const Tensor& text = inputs.text[0];
    const size_t row_bytes = size_t(text_tokens_ * width) * size_of(text.dtype);
    char* out = static_cast<char*>(text.data) + size_t(row) * row_bytes;
    convert(embedding, 0, embedding.elements(), out, text.dtype);
    const size_t used = size_t(embedding.elements()) * size_of(text.dtype);
    std::memset(out + used, 0, row_bytes - used);
    float* bias = inputs.text_bias.data() + row * text_tokens_;
    std::fill(bias, bias + length, 0.f);
    std::fill(bias + length, bias + text_tokens_, denoiser_.masked_text_bias());
}

void TrainingData::fill_caption(size_t sample, TrainingInputs& inputs) const {
    load_text(samples_.at(sample).files.text, int64_t(sample), inputs);
}

void TrainingData::fill(const Options& options, const Objective& objective, int64_t index,
                        std::span<const int64_t> samples, TrainingInputs& inputs) const {
    const Bucket& bucket = inputs.bucket;
    DrawOptions draw;
    draw.latents = {bucket.batch, denoiser_.latent_channels(), bucket.latent_height, bucket.latent_width};
    draw.sample_latents = options.sample_latents;
    draw.timestep = objective.timestep_draw();
    draw.timesteps = objective.train_timesteps();
    draw.dropouts = options.caption_dropout > 0 ? 1 : 0;
    draw.noise_offset = options.noise_offset != 0;
    draw.offset_share = draw.noise_offset && options.offset_probability < 1;
    Draws draws = draw_micro_batch(options.seed, uint64_t(index), draw);

    const int64_t channels = denoiser_.latent_channels();
    const size_t n = size_t(numel(draw.latents) / bucket.batch), plane = n / size_t(channels);
    const bool offset = draw.noise_offset && draws.offset_share < float(options.offset_probability);
    std::vector<float> x0(n);
    for (int64_t b = 0; b < bucket.batch; b++) {
        const Entry& entry = samples_.at(size_t(samples[size_t(b)]));
        load_latents(entry, options.sample_latents ? draws.latent_noise.data() + size_t(b) * n : nullptr, x0);
        float* noise = draws.noise.data() + size_t(b) * n;
        if (offset)
            for (size_t i = 0; i < n; i++)
                noise[i] += float(options.noise_offset) * draws.offset[size_t(b * channels) + i / plane];
        objective.prepare(b, objective.level(b, draws), x0, {noise, n}, inputs);
        const bool dropped = draw.dropouts && draws.dropouts[0][size_t(b)] < float(options.caption_dropout);
        STEPD_REQUIRE(!dropped || !empty_.empty(), Code::invalid,
                      "config.caption_dropout needs the embedding of the empty caption");
        load_text(dropped ? empty_ : entry.files.text, b, inputs);
    }
}

void draw_dropout_masks(const std::vector<LinearModule>& modules, double p, uint64_t seed, int64_t index,
                        TrainingInputs& inputs) {
    Generator generator(adapter_dropout_seed(seed, uint64_t(index)));
    for (const LinearModule& module : modules) {
        auto it = inputs.dropout.find(module.path);
        if (it == inputs.dropout.end()) continue;
        std::vector<float>& mask = it->second;
        generator.rand(mask.data(), int64_t(mask.size()));
        for (float& m : mask) m = m >= float(p) ? float(1 / (1 - p)) : 0.f;
    }
}

}  // namespace stepd
