// What the core knows about a model family: its three components, written forward only, and how to recognise its
// folder. A family is one denoiser file and one line in families.inc; text encoders and autoencoders are shared between
// families.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "graph/builder.h"

namespace stepd {

// What a config.json may ask for. Several times what any published model has; beyond it a typing error would keep the
// planner busy for minutes.
constexpr int64_t kMostLayers = 256, kMostHeads = 1024, kMostHeadDim = 1024, kMostChannels = int64_t{1} << 16,
                  kMostHidden = int64_t{1} << 18;

class Folder;     // models/folder.h
class Generator;  // io/random.h

struct ParameterSpec {
    std::string name;                  // as the reference library saves it
    Shape shape;                       // [out, in], NCHW kernels
    std::vector<std::string> aliases;  // names that older files use for the same tensor
};

// Anything with weights in a folder of its own.
class Component {
public:
    virtual ~Component() = default;
    // Every weight, in the order in which the reference library creates them.
    virtual const std::vector<ParameterSpec>& parameters() const = 0;
    // True for tensors that published files carry and this component does not use. Any other unknown tensor is refused:
    // it means that the file holds another model.
    virtual bool ignores(const std::string& tensor) const;

    // Fills `out` (numel(parameter.shape) floats) with a starting value. Deterministic when called in the order of
    // parameters() with one generator. Unless a component knows better: normal numbers of variance 1 / fan-in for
    // matrices and kernels, ones for the scales of norms, zeros for biases.
    virtual void initialise(const ParameterSpec& parameter, Generator& generator, float* out) const;
};

// One bucket: all shapes of a recorded denoiser follow from it.
struct Bucket {
    int64_t batch = 1, latent_height = 0, latent_width = 0, text_tokens = 0;
    auto operator<=>(const Bucket&) const = default;
};

// A linear module that an adapter can sit on.
struct LinearModule {
    std::string path;  // "transformer_blocks.0.attn1.to_q": the weight is path + ".weight"
    int64_t in = 0, out = 0;
};

class Denoiser : public Component {
public:
    virtual int64_t latent_channels() const = 0;
    virtual int64_t text_width() const = 0;  // of one text embedding
    virtual int64_t patch_size() const = 0;  // latent height and width must be multiples of it

    // latents [B,C,h,w] f32, timestep [B] f32 in 0..1000, text [B,T,text_width] f32 or bf16,
    // text_bias [B,T] f32 added to the scores of each text token: 0 or masked_text_bias().
    // Returns the prediction [B,C,h,w] in the compute dtype, without learned-variance channels.
    virtual ValueId record(Builder& b, const Bucket& bucket, ValueId latents, ValueId timestep, ValueId text,
                           ValueId text_bias) const = 0;
    virtual float masked_text_bias() const = 0;

    // Every linear layer in module order, and the suffixes that an adapter uses by default.
    virtual const std::vector<LinearModule>& linear_modules() const = 0;
    virtual std::vector<std::string> default_adapter_targets() const = 0;
};

// Modules whose path equals a target or ends in "." + target (PEFT's rule), in module order.
// Throws Code::invalid naming a target that matches nothing.
std::vector<LinearModule> adapter_modules(const Denoiser& denoiser, const std::vector<std::string>& targets);

class TextEncoder : public Component {
public:
    virtual int64_t width() const = 0;
    virtual int64_t vocabulary() const = 0;
    // ids [B,T] i32, key_bias [B,T] f32: 0, or masked_key_bias() for padding. Returns [B,T,width] in the compute dtype.
    virtual ValueId record(Builder& b, ValueId ids, ValueId key_bias) const = 0;
    virtual float masked_key_bias() const = 0;
};

struct LatentMoments {
    ValueId mean = kNone, logvar = kNone;  // [B,C,h,w] f32; clamp logvar to [-30, 20] before use
};

// Turns latents into pictures.
class LatentDecoder : public Component {
public:
    virtual int64_t latent_channels() const = 0;
    virtual int64_t factor() const = 0;  // pixels a latent cell spans in each direction
    // Latents of the denoiser are (z - shift) * scale.
    virtual double scaling_factor() const = 0;
    virtual double shift_factor() const = 0;
    // z [B,C,h,w] f32, already divided by scaling_factor() and shifted. Returns [B,3,h*factor,w*factor] f32, [-1,1]
    // and not clamped.
    virtual ValueId record_decode(Builder& b, ValueId z) const = 0;
};

class Autoencoder : public LatentDecoder {
public:
    // image [B,3,H,W] f32 in [-1,1]. H and W need not be multiples of factor(): each level floors.
    virtual LatentMoments record_encode(Builder& b, ValueId image) const = 0;
};

struct Family {
    const char* name;
    bool (*detect)(const Folder& folder);
    // From the component's config.json. Throws Code::unsupported naming the key and the value that this core cannot do.
    std::unique_ptr<Denoiser> (*make_denoiser)(const nlohmann::json& config);
    std::unique_ptr<TextEncoder> (*make_text_encoder)(const nlohmann::json& config);
    std::unique_ptr<Autoencoder> (*make_autoencoder)(const nlohmann::json& config);
};

std::span<const Family* const> all_families();
// By name, or, when name is empty, the family that recognises the folder. Throws Code::unsupported listing what there
// is.
const Family& find_family(const std::string& name, const Folder* folder);

}  // namespace stepd
