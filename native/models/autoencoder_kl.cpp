#include "models/autoencoder_kl.h"

#include "base/config_reader.h"
#include "models/recorded.h"
#include "nn/attention.h"

namespace stepd {

namespace {

constexpr double kEps = 1e-6;  // of every group norm, not configurable in the reference

class AutoencoderKl : public Autoencoder {
public:
    explicit AutoencoderKl(const nlohmann::json& json);

    const std::vector<ParameterSpec>& parameters() const override { return parameters_; }
    int64_t latent_channels() const override { return latent_channels_; }
    int64_t factor() const override { return int64_t{1} << (channels_.size() - 1); }
    double scaling_factor() const override { return scaling_factor_; }
    double shift_factor() const override { return shift_factor_; }
    LatentMoments record_encode(Builder& b, ValueId image) const override;
    ValueId record_decode(Builder& b, ValueId z) const override;

private:
    ValueId norm(Builder& b, const std::string& path, ValueId x, bool silu) const;
    ValueId resnet(Builder& b, const std::string& path, ValueId x, int64_t out) const;
    ValueId mid_block(Builder& b, const std::string& path, ValueId x) const;
    ValueId attention(Builder& b, const std::string& path, ValueId x) const;

    std::vector<int64_t> channels_;  // of each level, finest first
    int64_t resnets_, groups_, latent_channels_;
    bool mid_attention_, quant_conv_, post_quant_conv_;
    double scaling_factor_, shift_factor_;
    std::vector<ParameterSpec> parameters_;
};

// Padding on each side of an image, in pixels.
struct Padding {
    int top, left, bottom, right;
};

ValueId convolution(Builder& b, const std::string& path, ValueId x, int64_t out, int64_t kernel, int stride,
                    Padding pad) {
    ValueId w = b.weight(path + ".weight", {out, b.shape(x).back(), kernel, kernel});
    ValueId offset = b.parameter(path + ".bias", {out});
    return b.op(
        "conv2d", {x, w, offset},
        {{"stride", stride}, {"top", pad.top}, {"left", pad.left}, {"bottom", pad.bottom}, {"right", pad.right}});
}

ValueId conv3(Builder& b, const std::string& path, ValueId x, int64_t out) {
    return convolution(b, path, x, out, 3, 1, {1, 1, 1, 1});
}

ValueId conv1(Builder& b, const std::string& path, ValueId x, int64_t out) {
    return convolution(b, path, x, out, 1, 1, {0, 0, 0, 0});
}

// Pads only below and to the right, as the original implementation did.
ValueId downsample(Builder& b, const std::string& path, ValueId x) {
    return convolution(b, path + ".downsamplers.0.conv", x, b.shape(x).back(), 3, 2, {0, 0, 1, 1});
}

ValueId upsample(Builder& b, const std::string& path, ValueId x) {
    return conv3(b, path + ".upsamplers.0.conv", b.op("upsample_nearest", {x}), b.shape(x).back());
}

void require_block_types(const ConfigReader& config, const std::string& key, const std::string& type, size_t levels) {
    std::vector<std::string> types = config.texts(key);
    STEPD_REQUIRE(types.empty() || types.size() == levels, Code::invalid, "vae/config.json: ", key, " has ",
                  types.size(), " entries, block_out_channels has ", levels);
    for (const std::string& t : types) {
        STEPD_REQUIRE(t == type, Code::unsupported, "vae/config.json: ", key, " contains ", t, ", only ", type,
                      " is supported");
    }
}

// Files written before diffusers 0.15 call the projections of an attention block by other names.
std::vector<std::string> old_names(const std::string& name) {
    static const std::pair<std::string, std::string> renamed[] = {
        {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
    for (const auto& [now, before] : renamed) {
        size_t at = name.find(now);
        if (at != std::string::npos) return {name.substr(0, at) + before + name.substr(at + now.size())};
    }
    return {};
}

AutoencoderKl::AutoencoderKl(const nlohmann::json& json) {
    ConfigReader config("vae/config.json", json);
    config.only("_class_name", "AutoencoderKL");
    channels_ = config.sizes("block_out_channels", {64}, kMostChannels);
    STEPD_REQUIRE(channels_.size() <= 8, Code::unsupported, "vae/config.json: block_out_channels has ",
                  channels_.size(), " levels, at most 8 are supported");
    require_block_types(config, "down_block_types", "DownEncoderBlock2D", channels_.size());
    require_block_types(config, "up_block_types", "UpDecoderBlock2D", channels_.size());
    config.only("act_fn", "silu");
    config.only("in_channels", 3);
    config.only("out_channels", 3);
    for (const char* key : {"latents_mean", "latents_std"}) {
        STEPD_REQUIRE(!config.has(key), Code::unsupported, "vae/config.json: ", key,
                      " is set; only scaling_factor and "
                      "shift_factor are supported");
    }
    resnets_ = config.size("layers_per_block", 1, kMostLayers);
    groups_ = config.size("norm_num_groups", 32, kMostChannels);
    latent_channels_ = config.size("latent_channels", 4, kMostChannels);
    mid_attention_ = config.flag("mid_block_add_attention", true);
    quant_conv_ = config.flag("use_quant_conv", true);
    post_quant_conv_ = config.flag("use_post_quant_conv", true);
    scaling_factor_ = config.number("scaling_factor", 0.18215);
    shift_factor_ = config.number("shift_factor", 0.0);
    STEPD_REQUIRE(scaling_factor_ != 0, Code::invalid, "vae/config.json: scaling_factor is 0");
    parameters_ = recorded_parameters([this](Builder& b) {
        record_encode(b, b.input("image", {1, 3, factor(), factor()}, DType::f32));
        record_decode(b, b.input("z", {1, latent_channels_, 1, 1}, DType::f32));
    });
    for (ParameterSpec& p : parameters_) p.aliases = old_names(p.name);
}

LatentMoments AutoencoderKl::record_encode(Builder& b, ValueId image) const {
    ValueId x = b.cast(b.op("nchw_to_nhwc", {image}), b.compute());
    x = conv3(b, "encoder.conv_in", x, channels_[0]);
    for (size_t level = 0; level < channels_.size(); ++level) {
        std::string path = detail::concat("encoder.down_blocks.", level);
        for (int64_t r = 0; r < resnets_; ++r) {
            x = resnet(b, detail::concat(path, ".resnets.", r), x, channels_[level]);
        }
        if (level + 1 < channels_.size()) x = downsample(b, path, x);
    }
    x = mid_block(b, "encoder.mid_block", x);
    x = norm(b, "encoder.conv_norm_out", x, true);
    x = conv3(b, "encoder.conv_out", x, 2 * latent_channels_);
    if (quant_conv_) x = conv1(b, "quant_conv", x, 2 * latent_channels_);
    ValueId moments = b.op("nhwc_to_nchw", {b.cast(x, DType::f32)});
    return {b.slice(moments, 1, 0, latent_channels_), b.slice(moments, 1, latent_channels_, latent_channels_)};
}

ValueId AutoencoderKl::record_decode(Builder& b, ValueId z) const {
    ValueId x = b.cast(b.op("nchw_to_nhwc", {z}), b.compute());
    if (post_quant_conv_) x = conv1(b, "post_quant_conv", x, latent_channels_);
    x = conv3(b, "decoder.conv_in", x, channels_.back());
    x = mid_block(b, "decoder.mid_block", x);
    for (size_t block = 0; block < channels_.size(); ++block) {
        std::string path = detail::concat("decoder.up_blocks.", block);
        int64_t out = channels_[channels_.size() - 1 - block];
        for (int64_t r = 0; r < resnets_ + 1; ++r) x = resnet(b, detail::concat(path, ".resnets.", r), x, out);
        if (block + 1 < channels_.size()) x = upsample(b, path, x);
    }
    x = norm(b, "decoder.conv_norm_out", x, true);
    x = conv3(b, "decoder.conv_out", x, 3);
    return b.op("nhwc_to_nchw", {b.cast(x, DType::f32)});
}

ValueId AutoencoderKl::norm(Builder& b, const std::string& path, ValueId x, bool silu) const {
    int64_t channels = b.shape(x).back();
    STEPD_REQUIRE(channels % groups_ == 0, Code::invalid, "vae/config.json: norm_num_groups = ", groups_,
                  " does not divide the ", channels, " channels of ", path);
    return b.op("group_norm", {x, b.parameter(path + ".weight", {channels}), b.parameter(path + ".bias", {channels})},
                {{"groups", double(groups_)}, {"eps", kEps}, {"silu", silu ? 1.0 : 0.0}});
}

ValueId AutoencoderKl::resnet(Builder& b, const std::string& path, ValueId x, int64_t out) const {
    ValueId h = conv3(b, path + ".conv1", norm(b, path + ".norm1", x, true), out);
    h = conv3(b, path + ".conv2", norm(b, path + ".norm2", h, true), out);
    if (b.shape(x).back() != out) x = conv1(b, path + ".conv_shortcut", x, out);
    return b.add(x, h);
}

ValueId AutoencoderKl::mid_block(Builder& b, const std::string& path, ValueId x) const {
    x = resnet(b, path + ".resnets.0", x, b.shape(x).back());
    if (mid_attention_) x = attention(b, path + ".attentions.0", x);
    return resnet(b, path + ".resnets.1", x, b.shape(x).back());
}

// One head over all pixels.
ValueId AutoencoderKl::attention(Builder& b, const std::string& path, ValueId x) const {
    const Shape shape = b.shape(x);
    int64_t channels = shape[3];
    ValueId normed = b.reshape(norm(b, path + ".group_norm", x, false), {shape[0], shape[1] * shape[2], channels});
    ValueId y = nn::attention(b, path, normed, normed, channels, {.heads = 1, .head_dim = channels});
    return b.add(x, b.reshape(y, shape));
}

}  // namespace

std::unique_ptr<Autoencoder> make_autoencoder_kl(const nlohmann::json& config) {
    return std::make_unique<AutoencoderKl>(config);
}

}  // namespace stepd
