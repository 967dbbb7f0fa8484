#include "train/component.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "graph/builder.h"
#include "graph/plan.h"
#include "graph/rewrite.h"
#include "io/safetensors.h"

namespace stepd {

std::vector<TensorSpec> ComponentWeights::specs(const Component& component, DType dtype) {
    std::vector<TensorSpec> specs;
    for (const ParameterSpec& spec : component.parameters()) specs.push_back({spec.shape, dtype});
    return specs;
}

int64_t ComponentWeights::bytes(const Component& component, DType dtype) {
    return Slab::bytes(specs(component, dtype));
}

ComponentWeights::ComponentWeights(const Component& component, const std::string& folder, DType dtype,
                                   const Cancellation* cancellation)
    : component_(component), dtype_(dtype), weights_(specs(component, dtype)) {
    const ParameterSpec* first = component.parameters().data();
    load_weights(SafetensorsReader(folder), component, [&](const ParameterSpec& spec) {
        if (cancellation) cancellation->check("loading a model");
        return weights_[size_t(&spec - first)];
    });
}

void ComponentWeights::bind(Executor& executor) const {
    for (size_t i = 0; i < weights_.size(); i++) {
        const std::string& name = component_.parameters()[i].name;
        if (executor.has(name)) executor.bind(name, weights_[i].data);
    }
}

// --- text --------------------------------------------------------------------------------------------------------

TextEncoderRunner::TextEncoderRunner(const Folder& folder, const Family& family, DType compute, Backend& backend,
                                     const Cancellation* cancellation)
    : encoder_(family.make_text_encoder(folder.config("text_encoder"))),
      backend_(backend),
      weights_(*encoder_, folder.path_of("text_encoder"), compute, cancellation) {}

int64_t TextEncoderRunner::padded_length(int64_t tokens) {
    constexpr int64_t step = 32;  // a plan for every multiple: short captions stay cheap, and there are few plans
    return (tokens + step - 1) / step * step;
}

Graph TextEncoderRunner::record(const TextEncoder& encoder, DType compute, int64_t length) {
    Graph g;
    Builder b(g, compute, [compute](const std::string&) { return ParameterInfo{compute, false}; });
    ValueId ids = b.input("ids", {1, length}, DType::i32);
    ValueId bias = b.input("key_bias", {1, length}, DType::f32);
    b.output("embedding", b.cast(encoder.record(b, ids, bias), DType::f32));
    rewrite(g);
    return g;
}

TextEncoderRunner::Slot& TextEncoderRunner::slot(int64_t length) {
    Slot& slot = slots_[length];
    if (slot.executor) return slot;
    slot.ids.resize(size_t(length));
    slot.key_bias.resize(size_t(length));
    slot.embedding.resize(size_t(length * encoder_->width()));
    slot.executor = std::make_unique<Executor>(make_plan(record(*encoder_, weights_.dtype(), length)), backend_);
    slot.executor->bind("ids", slot.ids.data());
    slot.executor->bind("key_bias", slot.key_bias.data());
    slot.executor->bind("embedding", slot.embedding.data());
    weights_.bind(*slot.executor);
    return slot;
}

std::vector<float> TextEncoderRunner::encode(const std::vector<int32_t>& ids) {
    STEPD_REQUIRE(!ids.empty(), Code::invalid, "a caption has no tokens: at least the end token is needed");
    for (int32_t id : ids)
        STEPD_REQUIRE(id >= 0 && id < encoder_->vocabulary(), Code::invalid, "token id ", id,
                      " is outside the vocabulary of ", encoder_->vocabulary());
    const int64_t tokens = int64_t(ids.size());
    Slot& s = slot(padded_length(tokens));
    std::fill(s.ids.begin(), s.ids.end(), 0);
    std::copy(ids.begin(), ids.end(), s.ids.begin());
    std::fill(s.key_bias.begin(), s.key_bias.begin() + tokens, 0.f);
    std::fill(s.key_bias.begin() + tokens, s.key_bias.end(), encoder_->masked_key_bias());
    s.executor->run();
    return {s.embedding.begin(), s.embedding.begin() + tokens * encoder_->width()};
}

// --- pictures ----------------------------------------------------------------------------------------------------

DecoderRunner::DecoderRunner(const LatentDecoder& decoder, const ComponentWeights& weights, Backend& backend)
    : decoder_(decoder), weights_(weights), backend_(backend) {}

Graph DecoderRunner::record(const LatentDecoder& decoder, int64_t height, int64_t width) {
    Graph g;
    Builder b(g, DType::f32);
    ValueId z = b.input("z", {1, decoder.latent_channels(), height, width}, DType::f32);
    b.output("image", decoder.record_decode(b, z));
    rewrite(g);
    return g;
}

Image DecoderRunner::decode(std::span<const float> latents, int64_t height, int64_t width) {
    if (!executor_ || size_ != std::pair(height, width)) {
        executor_.reset();  // frees the old arena first
        executor_ = std::make_unique<Executor>(make_plan(record(decoder_, height, width)), backend_);
        weights_.bind(*executor_);
        size_ = {height, width};
    }
    std::vector<float> z(latents.size());
    for (size_t i = 0; i < z.size(); i++)
        z[i] = latents[i] / float(decoder_.scaling_factor()) + float(decoder_.shift_factor());
    const Shape& shape = executor_->value("image").shape;
    std::vector<float> pixels(size_t(numel(shape)));
    executor_->bind("z", z.data());
    executor_->bind("image", pixels.data());
    executor_->run();
    Image image{int(shape[3]), int(shape[2])};
    const size_t plane = size_t(shape[2] * shape[3]);
    for (size_t i = 0; i < plane; i++)
        for (size_t c = 0; c < 3; c++) {
            float x = pixels[c * plane + i] / 2 + 0.5f;
            x = x > 0 ? std::min(x, 1.f) : 0.f;                          // NaN is black
            image.pixels[3 * i + c] = uint8_t(std::nearbyint(x * 255));  // half to even, as numpy
        }
    return image;
}

AutoencoderRunner::AutoencoderRunner(const Folder& folder, const Family& family, Backend& backend,
                                     const Cancellation* cancellation)
    : autoencoder_(family.make_autoencoder(folder.config("vae"))),
      backend_(backend),
      weights_(*autoencoder_, folder.path_of("vae"), DType::f32, cancellation),
      decoder_(*autoencoder_, weights_, backend) {}

Graph AutoencoderRunner::record_encode(const Autoencoder& autoencoder, int64_t height, int64_t width) {
    Graph g;
    Builder b(g, DType::f32);
    LatentMoments moments = autoencoder.record_encode(b, b.input("image", {1, 3, height, width}, DType::f32));
    b.output("mean", moments.mean);
    b.output("logvar", moments.logvar);
    rewrite(g);
    return g;
}

AutoencoderRunner::Moments AutoencoderRunner::encode(const Image& image) {
    const std::pair<int64_t, int64_t> size{image.height, image.width};
    if (!encoder_ || encoder_size_ != size) {
        encoder_.reset();  // frees the old arena first
        encoder_ =
            std::make_unique<Executor>(make_plan(record_encode(*autoencoder_, size.first, size.second)), backend_);
        weights_.bind(*encoder_);
        encoder_size_ = size;
    }
    const int64_t plane = size.first * size.second;
    std::vector<float> pixels(size_t(3 * plane));
    for (int64_t i = 0; i < plane; i++)
        for (int64_t c = 0; c < 3; c++)
            pixels[size_t(c * plane + i)] = (float(image.pixels[size_t(3 * i + c)]) / 255.f - 0.5f) / 0.5f;
    const Shape& shape = encoder_->value("mean").shape;
    Moments moments;
    moments.shape = Shape(shape.begin() + 1, shape.end());
    moments.mean.resize(size_t(numel(shape)));
    moments.logvar.resize(size_t(numel(shape)));
    encoder_->bind("image", pixels.data());
    encoder_->bind("mean", moments.mean.data());
    encoder_->bind("logvar", moments.logvar.data());
    encoder_->run();
    return moments;
}

}  // namespace stepd
