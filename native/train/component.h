// A frozen component of the model folder, loaded for as long as it is needed: text encoder or autoencoder.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/cancellation.h"
#include "graph/executor.h"
#include "io/image.h"
#include "models/family.h"
#include "models/folder.h"
#include "train/slab.h"

namespace stepd {

// The weights of a component in one dtype.
class ComponentWeights {
public:
    // cancellation: null, or what may stop the loading (Code::cancelled).
    ComponentWeights(const Component& component, const std::string& folder, DType dtype,
                     const Cancellation* cancellation = nullptr);
    static int64_t bytes(const Component& component, DType dtype);

    DType dtype() const { return dtype_; }
    void bind(Executor& executor) const;

private:
    static std::vector<TensorSpec> specs(const Component& component, DType dtype);
    const Component& component_;
    DType dtype_;
    Slab weights_;
};

// Token ids to embeddings.
class TextEncoderRunner {
public:
    TextEncoderRunner(const Folder& folder, const Family& family, DType compute, Backend& backend,
                      const Cancellation* cancellation = nullptr);

    int64_t width() const { return encoder_->width(); }
    // [ids.size(), width] f32. Throws Code::invalid on an id outside the vocabulary.
    std::vector<float> encode(const std::vector<int32_t>& ids);

    // The graph of one caption of `length` tokens, and the length that captions of `tokens` are padded to.
    static Graph record(const TextEncoder& encoder, DType compute, int64_t length);
    static int64_t padded_length(int64_t tokens);

private:
    struct Slot {
        std::vector<int32_t> ids;
        std::vector<float> key_bias, embedding;
        std::unique_ptr<Executor> executor;
    };
    Slot& slot(int64_t length);

    std::unique_ptr<TextEncoder> encoder_;
    Backend& backend_;
    ComponentWeights weights_;
    std::map<int64_t, Slot> slots_;  // by padded length
};

// Latents to pictures, in f32.
class DecoderRunner {
public:
    // decoder and weights must outlive the runner.
    DecoderRunner(const LatentDecoder& decoder, const ComponentWeights& weights, Backend& backend);

    // latents of the denoiser [C,h,w] -> picture
    Image decode(std::span<const float> latents, int64_t height, int64_t width);

    static Graph record(const LatentDecoder& decoder, int64_t height, int64_t width);  // latent cells

private:
    const LatentDecoder& decoder_;
    const ComponentWeights& weights_;
    Backend& backend_;
    std::unique_ptr<Executor> executor_;  // of the size that was asked for last
    std::pair<int64_t, int64_t> size_;
};

// Pictures to latent moments and latents to pictures, in f32.
class AutoencoderRunner {
public:
    AutoencoderRunner(const Folder& folder, const Family& family, Backend& backend,
                      const Cancellation* cancellation = nullptr);

    struct Moments {
        Shape shape;  // [C,h,w]
        std::vector<float> mean, logvar;
    };
    Moments encode(const Image& image);
    DecoderRunner& decoder() { return decoder_; }

    static Graph record_encode(const Autoencoder& autoencoder, int64_t height, int64_t width);  // pixels

private:
    std::unique_ptr<Autoencoder> autoencoder_;
    Backend& backend_;
    ComponentWeights weights_;
    DecoderRunner decoder_;
    std::unique_ptr<Executor> encoder_;  // of the size that was asked for last
    std::pair<int64_t, int64_t> encoder_size_;
};

}  // namespace stepd
