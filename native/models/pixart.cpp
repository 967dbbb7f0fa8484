// PixArt Sigma (PixArtTransformer2DModel): a diffusion transformer with one modulation network shared by all blocks.
// Source: Chen et al. 2024; names and order of operations as in diffusers.
#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/config_reader.h"
#include "io/random.h"
#include "models/autoencoder_kl.h"
#include "models/folder.h"
#include "models/recorded.h"
#include "models/t5.h"
#include "nn/attention.h"
#include "nn/embeddings.h"
#include "nn/initial_values.h"
#include "nn/linear.h"
#include "nn/mlp.h"

namespace stepd {

namespace {

struct PixArtOptions {
    int64_t layers, heads, head_dim, width;  // width = heads * head_dim
    int64_t in_channels, out_channels, patch;
    int64_t text_width;
    bool project_text, attention_bias;
    int64_t base_size;  // of the position table, in tokens
    double interpolation, eps;
};

constexpr const char* kConfigFile = "transformer/config.json";
constexpr const char* kClass = "PixArtTransformer2DModel";
// The class under which the first folders were published: with this kind of norm, it is the same model.
constexpr const char* kOldClass = "Transformer2DModel";
constexpr const char* kNorm = "ada_norm_single";

void require_class(const ConfigReader& config) {
    const std::string name = config.text("_class_name", kClass);
    STEPD_REQUIRE(name == kClass || (name == kOldClass && config.text("norm_type", "") == kNorm), Code::unsupported,
                  kConfigFile, ": _class_name = \"", name, "\" is not the transformer of family pixart, which is ",
                  kClass, "; train it as its own family, or name another model folder");
}

PixArtOptions read_options(const nlohmann::json& json) {
    ConfigReader config(kConfigFile, json);
    require_class(config);
    config.only("norm_type", kNorm);
    config.only("activation_fn", "gelu-approximate");
    config.only("attention_type", "default");
    config.only("norm_elementwise_affine", false);
    config.only("dropout", 0.0);
    PixArtOptions o;
    o.layers = config.size("num_layers", 28, kMostLayers);
    o.heads = config.size("num_attention_heads", 16, kMostHeads);
    o.head_dim = config.size("attention_head_dim", 72, kMostHeadDim);
    o.width = o.heads * o.head_dim;
    STEPD_REQUIRE(o.width <= kMostChannels, Code::invalid, kConfigFile,
                  ": num_attention_heads * attention_head_dim = ", o.width, " is more than ", kMostChannels);
    o.in_channels = config.size("in_channels", 4, kMostChannels);
    bool same_channels = json.contains("out_channels") && json.at("out_channels").is_null();
    o.out_channels = same_channels ? o.in_channels : config.size("out_channels", 8, kMostChannels);
    STEPD_REQUIRE(o.out_channels == o.in_channels || o.out_channels == 2 * o.in_channels, Code::unsupported,
                  kConfigFile, ": out_channels = ", o.out_channels, " must be in_channels = ", o.in_channels,
                  " or twice that (noise and variance)");
    STEPD_REQUIRE(o.width % 4 == 0, Code::unsupported, kConfigFile,
                  ": num_attention_heads * attention_head_dim = ", o.width, " must be a multiple of 4");
    o.patch = config.size("patch_size", 2, 64);
    config.only("cross_attention_dim", o.width);
    o.project_text = config.has("caption_channels");
    o.text_width = o.project_text ? config.required_size("caption_channels", kMostChannels) : o.width;
    o.attention_bias = config.flag("attention_bias", true);
    int64_t sample_size = config.size("sample_size", 128);
    o.base_size = sample_size / o.patch;
    o.interpolation = config.number("interpolation_scale", double(std::max<int64_t>(sample_size / 64, 1)));
    STEPD_REQUIRE(o.base_size > 0 && o.interpolation > 0, Code::invalid, kConfigFile, ": sample_size = ", sample_size,
                  " and interpolation_scale = ", o.interpolation, " must be positive");
    o.eps = config.number("norm_eps", 1e-6);
    return o;
}

// Shift, scale and gate vectors [B,D] of one block.
struct Modulation {
    ValueId shift_attention, scale_attention, gate_attention, shift_mlp, scale_mlp, gate_mlp;
};

// Sorts parameters as diffusers creates them: its generator draws their starting values in this order.
std::tuple<size_t, int64_t, bool> creation_order(const std::string& name) {
    static const std::string blocks = "transformer_blocks.";
    static const std::vector<std::string> created = {"pos_embed.", blocks,          "scale_shift_table",
                                                     "proj_out.",  "adaln_single.", "caption_projection."};
    size_t rank = 0;
    while (rank < created.size() && !name.starts_with(created[rank])) ++rank;
    int64_t block = name.starts_with(blocks) ? std::stoll(name.substr(blocks.size())) : 0;
    return {rank, block, name.ends_with("scale_shift_table")};
}

int64_t fan_in(const Shape& weight) { return numel(weight) / weight[0]; }

class PixArt : public Denoiser {
public:
    explicit PixArt(const nlohmann::json& config) : o_(read_options(config)) {
        parameters_ = recorded_parameters([this](Builder& b) { record_smallest(b); });
        std::stable_sort(parameters_.begin(), parameters_.end(), [](const ParameterSpec& x, const ParameterSpec& y) {
            return creation_order(x.name) < creation_order(y.name);
        });
        modules_ = recorded_linear_modules(parameters_);
    }

    const std::vector<ParameterSpec>& parameters() const override { return parameters_; }
    // A fixed table that some files carry.
    bool ignores(const std::string& tensor) const override { return tensor == "pos_embed.pos_embed"; }
    int64_t latent_channels() const override { return o_.in_channels; }
    int64_t text_width() const override { return o_.text_width; }
    int64_t patch_size() const override { return o_.patch; }
    float masked_text_bias() const override { return -10000.0f; }  // finite: a row without any text attends evenly
    const std::vector<LinearModule>& linear_modules() const override { return modules_; }
    std::vector<std::string> default_adapter_targets() const override { return {"to_k", "to_q", "to_v", "to_out.0"}; }

    ValueId record(Builder& b, const Bucket& bucket, ValueId latents, ValueId timestep, ValueId text,
                   ValueId text_bias) const override;
    void initialise(const ParameterSpec& parameter, Generator& generator, float* out) const override;

private:
    void record_smallest(Builder& b) const;
    ValueId block(Builder& b, int64_t index, ValueId x, ValueId modulation, ValueId text, ValueId text_bias) const;
    const ParameterSpec& weight_of(const ParameterSpec& bias) const;
    ValueId head(Builder& b, const Bucket& bucket, ValueId x, ValueId embedded_timestep) const;
    Modulation modulation(Builder& b, const std::string& path, ValueId shared) const;

    PixArtOptions o_;
    std::vector<ParameterSpec> parameters_;
    std::vector<LinearModule> modules_;
};

void PixArt::record_smallest(Builder& b) const {
    Bucket bucket{1, o_.patch, o_.patch, 1};
    ValueId latents = b.input("latents", {1, o_.in_channels, o_.patch, o_.patch}, DType::f32);
    ValueId timestep = b.input("timestep", {1}, DType::f32);
    ValueId text = b.input("text", {1, 1, o_.text_width}, DType::f32);
    record(b, bucket, latents, timestep, text, kNone);
}

ValueId PixArt::record(Builder& b, const Bucket& bucket, ValueId latents, ValueId timestep, ValueId text,
                       ValueId text_bias) const {
    ValueId x = nn::patch_embedding(b, "pos_embed.proj", latents, o_.width, o_.patch);
    x = nn::add_position_table(b, x, bucket.latent_height / o_.patch, bucket.latent_width / o_.patch, o_.base_size,
                               o_.interpolation);
    b.observed("pos_embed", x);
    ValueId embedded = nn::timestep_embedding(b, "adaln_single.emb.timestep_embedder", timestep, o_.width);
    ValueId shared = nn::vector_linear(b, "adaln_single.linear", b.silu(embedded), 6 * o_.width);
    b.observed("adaln_single#0", shared);
    b.observed("adaln_single#1", embedded);
    shared = b.reshape(shared, {bucket.batch, 6, o_.width});
    text = b.cast(text, b.compute());
    if (o_.project_text) text = nn::text_projection(b, "caption_projection", text, o_.width);
    b.observed("caption_projection", text);
    for (int64_t i = 0; i < o_.layers; ++i) x = block(b, i, x, shared, text, text_bias);
    return head(b, bucket, x, embedded);
}

Modulation PixArt::modulation(Builder& b, const std::string& path, ValueId shared) const {
    ValueId table = b.parameter(path + ".scale_shift_table", {6, o_.width});
    std::vector<ValueId> v = b.split(b.add(shared, b.cast(table, DType::f32)), 1, 6);
    return {v[0], v[1], v[2], v[3], v[4], v[5]};
}

// Cross-attention takes x as it is: no norm before it and no gate after it.
ValueId PixArt::block(Builder& b, int64_t index, ValueId x, ValueId shared, ValueId text, ValueId text_bias) const {
    std::string path = detail::concat("transformer_blocks.", index);
    Modulation m = modulation(b, path, shared);
    nn::AttentionOptions self{int(o_.heads), o_.head_dim, o_.attention_bias, kNone};
    nn::AttentionOptions cross{int(o_.heads), o_.head_dim, o_.attention_bias, text_bias};

    ValueId normed = b.norm_modulate(x, m.scale_attention, m.shift_attention, o_.eps);
    x = b.gate_residual(x, m.gate_attention, nn::attention(b, path + ".attn1", normed, normed, o_.width, self));
    x = b.add(x, nn::attention(b, path + ".attn2", x, text, o_.width, cross));
    normed = b.norm_modulate(x, m.scale_mlp, m.shift_mlp, o_.eps);
    x = b.gate_residual(x, m.gate_mlp, nn::feed_forward(b, path + ".ff", normed, 4 * o_.width));
    return b.observed(path, x);
}

// The last norm is modulated by the embedded timestep itself, added to both rows of its table: shift, then scale.
ValueId PixArt::head(Builder& b, const Bucket& bucket, ValueId x, ValueId embedded_timestep) const {
    ValueId table = b.cast(b.parameter("scale_shift_table", {2, o_.width}), DType::f32);
    std::vector<ValueId> rows = b.split(table, 0, 2);
    ValueId shift = b.add(embedded_timestep, rows[0]), scale = b.add(embedded_timestep, rows[1]);
    x = b.norm_modulate(x, scale, shift, o_.eps);
    x = nn::linear(b, "proj_out", x, o_.patch * o_.patch * o_.out_channels);
    x = b.op("unpatchify", {x},
             {{"patch", double(o_.patch)},
              {"height", double(bucket.latent_height)},
              {"width", double(bucket.latent_width)},
              {"channel_last", 1}});
    return o_.out_channels == o_.in_channels ? x : b.slice(x, 1, 0, o_.in_channels);
}

// As diffusers starts its layers, except for a zero output projection: training starts from the prediction zero. Its
// numbers are drawn all the same, so that what follows equals a model that diffusers created from the same seed.
void PixArt::initialise(const ParameterSpec& parameter, Generator& generator, float* out) const {
    int64_t count = numel(parameter.shape);
    if (parameter.name.ends_with("scale_shift_table")) {
        generator.randn(out, count);
        float divisor = float(std::sqrt(double(o_.width)));
        for (int64_t i = 0; i < count; ++i) out[i] /= divisor;
    } else if (parameter.name.ends_with(".weight")) {
        nn::kaiming_uniform(generator, fan_in(parameter.shape), out, count);
    } else {
        nn::bias_uniform(generator, fan_in(weight_of(parameter).shape), out, count);
    }
    if (parameter.name.starts_with("proj_out.")) std::fill_n(out, count, 0.0f);
}

// The weight that a bias belongs to.
const ParameterSpec& PixArt::weight_of(const ParameterSpec& bias) const {
    std::string name = bias.name.substr(0, bias.name.rfind('.')) + ".weight";
    auto at =
        std::find_if(parameters_.begin(), parameters_.end(), [&](const ParameterSpec& p) { return p.name == name; });
    STEPD_CHECK(at != parameters_.end(), bias.name, " has no weight");
    return *at;
}

std::unique_ptr<Denoiser> make_denoiser(const nlohmann::json& config) { return std::make_unique<PixArt>(config); }

bool detect(const Folder& folder) {
    const std::string name = folder.class_of("transformer");
    return name == kClass || (name == kOldClass && folder.config("transformer").value("norm_type", "") == kNorm);
}

}  // namespace

extern const Family pixart_family{"pixart", detect, make_denoiser, make_t5, make_autoencoder_kl};

}  // namespace stepd
