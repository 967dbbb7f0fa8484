// Source: TAESD (Boer Bohan 2023); names and order of operations as in diffusers' AutoencoderTiny. Residual blocks of
// three convolutions with ReLU, no norms; a level is some blocks, then doubling and a convolution.
#include "models/autoencoder_tiny.h"

#include "base/config_reader.h"
#include "models/recorded.h"

namespace stepd {

namespace {

constexpr int64_t kMostLevels = 8;

class TinyDecoder : public LatentDecoder {
public:
    TinyDecoder(const nlohmann::json& json, const std::string& folder);

    const std::vector<ParameterSpec>& parameters() const override { return parameters_; }
    bool ignores(const std::string& tensor) const override { return tensor.starts_with("encoder."); }
    int64_t latent_channels() const override { return latent_channels_; }
    int64_t factor() const override { return int64_t{1} << (channels_.size() - 1); }
    double scaling_factor() const override { return scaling_factor_; }
    double shift_factor() const override { return shift_factor_; }
    ValueId record_decode(Builder& b, ValueId z) const override;

private:
    std::vector<int64_t> channels_, blocks_;  // of each level, coarsest first
    int64_t latent_channels_;
    double scaling_factor_, shift_factor_;
    std::vector<ParameterSpec> parameters_;
};

TinyDecoder::TinyDecoder(const nlohmann::json& json, const std::string& folder) {
    const std::string file = folder + "/config.json";
    ConfigReader config(file, json);
    config.only("_class_name", "AutoencoderTiny");
    config.only("act_fn", "relu");
    config.only("upsample_fn", "nearest");
    config.only("upsampling_scaling_factor", 2);
    config.only("out_channels", 3);
    channels_ = config.sizes("decoder_block_out_channels", {64, 64, 64, 64}, kMostChannels);
    blocks_ = config.sizes("num_decoder_blocks", {3, 3, 3, 1}, kMostLayers);
    STEPD_REQUIRE(channels_.size() == blocks_.size() && channels_.size() <= kMostLevels, Code::invalid, file,
                  ": decoder_block_out_channels has ", channels_.size(), " levels and num_decoder_blocks ",
                  blocks_.size(), "; both must have the same number, at most ", kMostLevels);
    for (int64_t channels : channels_)
        STEPD_REQUIRE(channels == channels_[0], Code::unsupported, file,
                      ": decoder_block_out_channels has different widths; only one width for all levels is supported");
    latent_channels_ = config.size("latent_channels", 4, kMostChannels);
    scaling_factor_ = config.number("scaling_factor", 1.0);
    shift_factor_ = config.number("shift_factor", 0.0);
    STEPD_REQUIRE(scaling_factor_ != 0, Code::invalid, file, ": scaling_factor is 0");
    parameters_ = recorded_parameters([this](Builder& b) {
        record_decode(b, b.input("z", {1, latent_channels_, 1, 1}, DType::f32));
    });
}

ValueId conv3(Builder& b, const std::string& path, ValueId x, int64_t out, bool bias = true) {
    ValueId w = b.weight(path + ".weight", {out, b.shape(x).back(), 3, 3});
    ValueId offset = bias ? b.parameter(path + ".bias", {out}) : kNone;
    return b.op("conv2d", {x, w, offset}, {{"stride", 1}, {"top", 1}, {"left", 1}, {"bottom", 1}, {"right", 1}});
}

ValueId relu(Builder& b, ValueId x) { return b.op("relu", {x}); }

ValueId residual_block(Builder& b, const std::string& path, ValueId x) {
    int64_t channels = b.shape(x).back();
    ValueId h = relu(b, conv3(b, path + ".conv.0", x, channels));
    h = relu(b, conv3(b, path + ".conv.2", h, channels));
    return relu(b, b.add(conv3(b, path + ".conv.4", h, channels), x));
}

// Layers are numbered as in the reference's list, in which activations and upsampling count too.
ValueId TinyDecoder::record_decode(Builder& b, ValueId z) const {
    int layer = 0;
    auto path = [&layer] { return detail::concat("decoder.layers.", layer++); };
    ValueId x = b.scale(b.op("tanh", {b.scale(z, 1.0 / 3)}), 3);  // clamps softly
    x = b.cast(b.op("nchw_to_nhwc", {x}), b.compute());
    x = relu(b, conv3(b, path(), x, channels_[0]));
    ++layer;
    for (size_t level = 0; level < channels_.size(); ++level) {
        for (int64_t i = 0; i < blocks_[level]; ++i) x = residual_block(b, path(), x);
        if (level + 1 == channels_.size()) break;
        ++layer;
        x = conv3(b, path(), b.op("upsample_nearest", {x}), channels_[level], false);
    }
    x = conv3(b, path(), x, 3);
    x = b.op("scale", {b.cast(x, DType::f32)}, {{"alpha", 2}, {"beta", -1}});  // [0, 1] to [-1, 1]
    return b.op("nhwc_to_nchw", {x});
}

}  // namespace

std::unique_ptr<LatentDecoder> make_autoencoder_tiny(const nlohmann::json& config, const std::string& folder) {
    return std::make_unique<TinyDecoder>(config, folder);
}

}  // namespace stepd
