#include "train/pictures.h"

#include <algorithm>

#include "base/error.h"
#include "diffusion/sampler.h"
#include "graph/executor.h"
#include "io/random.h"
#include "train/trainer.h"

namespace stepd {

void check(const SampleRequest& r, const Model& model, int64_t text_tokens, bool has_average) {
    const int64_t multiple = model.latent_factor * model.denoiser->patch_size();
    STEPD_REQUIRE(r.width > 0 && r.height > 0 && r.width % multiple == 0 && r.height % multiple == 0, Code::invalid,
                  "sample.width x height = ", r.width, "x", r.height, ": both must be positive multiples of ",
                  multiple);
    STEPD_REQUIRE(r.width <= 1 << 14 && r.height <= 1 << 14, Code::invalid, "sample.width x height = ", r.width, "x",
                  r.height, ": at most 16384 each");
    STEPD_REQUIRE(r.steps >= 1 && r.steps <= 10000, Code::invalid, "sample.steps = ", r.steps,
                  " is outside [1, 10000]");
    STEPD_REQUIRE(!r.ids.empty() && int64_t(r.ids.size()) <= text_tokens, Code::invalid, "sample.ids: ", r.ids.size(),
                  " tokens; 1 to config.text_tokens = ", text_tokens, " are possible");
    STEPD_REQUIRE(r.guidance <= 1 || (!r.negative_ids.empty() && int64_t(r.negative_ids.size()) <= text_tokens),
                  Code::invalid, "sample.negative_ids: ", r.negative_ids.size(), " tokens; with guidance 1 to ",
                  text_tokens, " are needed");
    STEPD_REQUIRE(!r.ema || has_average, Code::invalid, "sample.ema: the session keeps no average (config.ema)");
    STEPD_REQUIRE(r.batch_size >= 0 && r.batch_size <= 1024 && r.batch_index >= 0 &&
                      r.batch_index < std::max<int64_t>(1, r.batch_size),
                  Code::invalid, "sample.batch_index = ", r.batch_index, " of batch_size = ", r.batch_size);
    STEPD_REQUIRE(!r.out.empty(), Code::invalid, "sample.out is missing");
    if (!r.preview) return;
    STEPD_REQUIRE(r.preview->every >= 1, Code::invalid, "sample.preview.every = ", r.preview->every,
                  " must be at least 1");
    STEPD_REQUIRE(r.preview->out.find(kPreviewStep) != std::string::npos, Code::invalid, "sample.preview.out \"",
                  r.preview->out, "\" does not contain ", kPreviewStep, ", which tells the pictures apart");
}

// Rows: [negative, positive] with guidance, else the positive one alone.
struct PictureSampler::Inputs {
    Inputs(const Bucket& bucket, const DenoiserGraphs& graphs)
        : bucket(bucket),
          elements(size_t(graphs.denoiser.latent_channels() * bucket.latent_height * bucket.latent_width)),
          latents(elements * size_t(bucket.batch)),
          prediction(latents.size()),
          timestep(size_t(bucket.batch)),
          text_bias(size_t(bucket.batch * bucket.text_tokens)),
          text({{{bucket.batch, bucket.text_tokens, graphs.denoiser.text_width()}, graphs.compute}}) {}
    Bucket bucket;
    size_t elements;  // of one picture
    std::vector<float> latents, prediction, timestep, text_bias;
    Slab text;
    std::unique_ptr<Executor> executor;
};

PictureSampler::PictureSampler(const Model& model, const DenoiserGraphs& graphs, ParameterStore& store,
                               Prediction prediction, int64_t text_tokens, Backend& backend)
    : model_(model),
      graphs_(graphs),
      store_(store),
      prediction_(prediction),
      text_tokens_(text_tokens),
      backend_(backend) {}

std::unique_ptr<Executor> PictureSampler::executor(const Bucket& bucket, bool average) {
    auto executor = std::make_unique<Executor>(make_plan(graphs_.record_sampling(bucket, average)), backend_);
    bind_weights(*executor, store_, average);
    return executor;
}

void PictureSampler::set_text(const std::vector<float>& embedding, int64_t row, Inputs& inputs) const {
    const int64_t width = graphs_.denoiser.text_width(), tokens = int64_t(embedding.size()) / width;
    const Tensor& text = inputs.text[0];
    char* out = static_cast<char*>(text.data) + size_t(row * text_tokens_ * width) * size_of(text.dtype);
    copy_values(Tensor{const_cast<float*>(embedding.data()), DType::f32, {tokens, width}},
                Tensor{out, text.dtype, {tokens, width}});
    float* bias = inputs.text_bias.data() + row * text_tokens_;
    std::fill(bias, bias + tokens, 0.f);
    std::fill(bias + tokens, bias + text_tokens_, graphs_.denoiser.masked_text_bias());
}

Bucket PictureSampler::bucket(const SampleRequest& r) const {
    return {r.guidance > 1 ? 2 : 1, r.height / model_.latent_factor, r.width / model_.latent_factor, text_tokens_};
}

LatentPicture PictureSampler::sample(const SampleRequest& r, const Embeddings& embeddings, const SamplingHooks& hooks) {
    Inputs inputs(bucket(r), graphs_);
    LatentPicture picture;
    picture.height = inputs.bucket.latent_height;
    picture.width = inputs.bucket.latent_width;
    const bool guided = inputs.bucket.batch == 2;
    if (guided) set_text(embeddings.at(r.negative_ids), 0, inputs);
    set_text(embeddings.at(r.ids), guided ? 1 : 0, inputs);
    inputs.executor = executor(inputs.bucket, r.ema);
    inputs.executor->bind(port::latents, inputs.latents.data());
    inputs.executor->bind(port::timestep, inputs.timestep.data());
    inputs.executor->bind(port::text, inputs.text[0].data);
    inputs.executor->bind(port::text_bias, inputs.text_bias.data());
    inputs.executor->bind(port::prediction, inputs.prediction.data());
    denoise(r, inputs, picture, hooks);
    return picture;
}

void PictureSampler::denoise(const SampleRequest& r, Inputs& inputs, LatentPicture& picture,
                             const SamplingHooks& hooks) {
    SamplerOptions options = SamplerOptions::from_json(model_.scheduler);
    options.steps = int(r.steps);
    options.prediction = prediction_;
    const int64_t patch = graphs_.denoiser.patch_size();
    options.image_tokens = picture.height / patch * (picture.width / patch);
    auto sampler = make_sampler(r.sampler.empty() ? default_sampler(model_.scheduler) : r.sampler, options);

    Generator generator(r.seed);
    const int64_t elements = int64_t(inputs.elements);
    const std::vector<float> noise = generator.randn(std::max<int64_t>(1, r.batch_size) * elements);
    picture.latents.assign(noise.begin() + r.batch_index * elements, noise.begin() + (r.batch_index + 1) * elements);
    for (float& x : picture.latents) x *= sampler->initial_scale();
    std::vector<float> guided(inputs.elements), clean(inputs.elements);
    const int steps = int(sampler->timesteps().size());
    for (int i = 0; i < steps; i++) {
        std::span<float> first(inputs.latents.data(), inputs.elements);
        sampler->scale_input(i, picture.latents, first);
        for (int64_t b = 1; b < inputs.bucket.batch; b++)
            std::copy(first.begin(), first.end(), inputs.latents.begin() + b * int64_t(inputs.elements));
        std::fill(inputs.timestep.begin(), inputs.timestep.end(), sampler->timesteps()[size_t(i)]);
        STEPD_REQUIRE(inputs.executor->run_while(hooks.go_on), Code::cancelled, "sampling was cancelled at step ", i,
                      " of ", r.steps);
        const float *negative = inputs.prediction.data(), *positive = negative + inputs.elements;
        for (size_t k = 0; k < inputs.elements; k++)
            guided[k] =
                inputs.bucket.batch == 1 ? negative[k] : negative[k] + float(r.guidance) * (positive[k] - negative[k]);
        sampler->estimate_clean(i, guided, picture.latents, clean);
        sampler->step(i, guided, picture.latents);
        if (hooks.on_step)
            hooks.on_step({i + 1, steps, sampler->timesteps()[size_t(i)], clean, picture.height, picture.width});
    }
}

}  // namespace stepd
