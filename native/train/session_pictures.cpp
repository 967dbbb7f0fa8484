// The parts of a session that turn pictures and captions into cached files, and requests into pictures.
#include <algorithm>
#include <set>

#include "base/error.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "train/memory.h"
#include "train/session.h"

namespace stepd {
namespace {

void flip_vertically(Image& image) {
    for (int y = 0; y < image.height / 2; y++)
        std::swap_ranges(image.row(y), image.row(y) + 3 * size_t(image.width), image.row(image.height - 1 - y));
}

void check(const ImageItem& i) {
    constexpr int64_t most = 1 << 16;
    STEPD_REQUIRE(i.resize_width > 0 && i.resize_height > 0 && i.resize_width <= most && i.resize_height <= most,
                  Code::invalid, i.path, ": resize_width x resize_height = ", i.resize_width, "x", i.resize_height);
    STEPD_REQUIRE(i.width > 0 && i.height > 0 && i.crop_x >= 0 && i.crop_y >= 0 && i.width <= most &&
                      i.height <= most && i.crop_x + i.width <= i.resize_width &&
                      i.crop_y + i.height <= i.resize_height,
                  Code::invalid, i.path, ": the crop ", i.width, "x", i.height, " at ", i.crop_x, ",", i.crop_y,
                  " is not inside the resized picture of ", i.resize_width, "x", i.resize_height);
    STEPD_REQUIRE(!i.out.empty(), Code::invalid, i.path, ": out is missing");
}

Image load(const ImageItem& item) {
    Image image = decode_image(item.path);
    if (image.width != item.resize_width || image.height != item.resize_height)
        image = resize(image, int(item.resize_width), int(item.resize_height), ResizeFilter::lanczos);
    if (image.width != item.width || image.height != item.height)
        image = crop(image, int(item.crop_x), int(item.crop_y), int(item.width), int(item.height));
    if (item.flip_x) image = flip_horizontally(image);
    if (item.flip_y) flip_vertically(image);
    return image;
}

Tensor view(std::vector<float>& values, const Shape& shape) { return {values.data(), DType::f32, shape}; }

}  // namespace

void Session::encode_images(const std::vector<ImageItem>& items) {
    for (const ImageItem& item : items) check(item);
    if (items.empty()) return;
    trainer_->release_arena();  // between steps: the plan counts the larger of activations and encoders
    AutoencoderRunner autoencoder(model_.folder, model_.family, *backend_, &cancellation_);
    for (size_t i = 0; i < items.size(); i++) {
        cancellation_.check("encoding pictures");
        AutoencoderRunner::Moments m = autoencoder.encode(load(items[i]));
        write_safetensors(items[i].out, {source_of("mean", view(m.mean, m.shape), SafeType::f32),
                                         source_of("logvar", view(m.logvar, m.shape), SafeType::f32)});
        progress("encode_images", i + 1, items.size());
    }
}

void Session::encode_text(const std::vector<TextItem>& items) {
    for (const TextItem& item : items) {
        STEPD_REQUIRE(!item.out.empty(), Code::invalid, "a caption to encode has no out");
        STEPD_REQUIRE(int64_t(item.ids.size()) <= config_.text_tokens, Code::invalid, item.out, ": ", item.ids.size(),
                      " tokens, more than config.text_tokens = ", config_.text_tokens);
    }
    if (items.empty()) return;
    trainer_->release_arena();
    TextEncoderRunner encoder(model_.folder, model_.family, config_.dtype, *backend_, &cancellation_);
    for (size_t i = 0; i < items.size(); i++) {
        cancellation_.check("encoding captions");
        std::vector<float> embedding = encoder.encode(items[i].ids);
        const Shape shape = {int64_t(items[i].ids.size()), encoder.width()};
        write_safetensors(items[i].out, {source_of("embedding", view(embedding, shape), safe_type_of(config_.dtype))});
        progress("encode_text", i + 1, items.size());
    }
}

// The text encoder is loaded only when a prompt is new, and freed before the pictures are made.
Embeddings Session::embed(const std::vector<SampleRequest>& requests) {
    Embeddings wanted;
    std::unique_ptr<TextEncoderRunner> encoder;
    auto add = [&](const std::vector<int32_t>& ids) {
        if (ids.empty() || wanted.contains(ids)) return;
        auto known = embeddings_.find(ids);
        if (known != embeddings_.end()) {
            wanted[ids] = known->second;
            return;
        }
        cancellation_.check("encoding prompts");
        if (!encoder)
            encoder = std::make_unique<TextEncoderRunner>(model_.folder, model_.family, config_.dtype, *backend_,
                                                          &cancellation_);
        wanted[ids] = encoder->encode(ids);
    };
    for (const SampleRequest& r : requests) {
        add(r.ids);
        if (r.guidance > 1) add(r.negative_ids);
    }
    return wanted;
}

void Session::sample(const std::vector<SampleRequest>& requests) {
    for (const SampleRequest& r : requests) check(r, model_, config_.text_tokens, config_.ema.has_value());
    if (requests.empty()) return;
    trainer_->release_arena();
    // Averages exist from the start of training; before, they equal the weights.
    if (std::any_of(requests.begin(), requests.end(), [](const SampleRequest& r) { return r.ema; }))
        trainer_->store().start_training();
    embeddings_ = embed(requests);
    PictureSampler sampler(model_, trainer_->graphs(), trainer_->store(), objective_.prediction(), config_.text_tokens,
                           *backend_);
    AutoencoderRunner autoencoder(model_.folder, model_.family, *backend_, &cancellation_);
    Previews previews(model_, autoencoder.decoder(), data_, preview_cache_, *backend_, sink_.on_preview);
    std::set<Bucket> fitting;
    for (size_t i = 0; i < requests.size(); i++) {
        const Bucket bucket = sampler.bucket(requests[i]);
        if (fitting.insert(bucket).second) require_picture_fits(model_, config_, trainer_->graphs(), bucket);
        const SamplingHooks hooks{[this] { return !cancellation_.cancelled(); },
                                  [&](const SamplingStep& step) { previews.step(int64_t(i), requests[i], step); }};
        const LatentPicture picture = sampler.sample(requests[i], embeddings_, hooks);
        write_png(requests[i].out, autoencoder.decoder().decode(picture.latents, picture.height, picture.width));
        progress("sample", i + 1, requests.size());
    }
}

}  // namespace stepd
