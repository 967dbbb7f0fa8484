// Source: Raffel et al. 2020 and the gated variant of Shazeer 2020. No biases, no attention scale, and one table of
// relative position biases shared by all blocks.
#include "models/t5.h"

#include <limits>

#include "base/config_reader.h"
#include "models/recorded.h"
#include "nn/linear.h"

namespace stepd {

namespace {

class T5 : public TextEncoder {
public:
    explicit T5(const nlohmann::json& json);

    const std::vector<ParameterSpec>& parameters() const override { return parameters_; }
    bool ignores(const std::string& tensor) const override;
    int64_t width() const override { return width_; }
    int64_t vocabulary() const override { return vocabulary_; }
    ValueId record(Builder& b, ValueId ids, ValueId key_bias) const override;
    float masked_key_bias() const override { return std::numeric_limits<float>::lowest(); }

private:
    ValueId norm(Builder& b, const std::string& path, ValueId x) const;
    ValueId self_attention(Builder& b, const std::string& path, ValueId x, ValueId key_bias, ValueId positions) const;
    ValueId gated_mlp(Builder& b, const std::string& path, ValueId x) const;

    int64_t width_, layers_, heads_, head_dim_, hidden_, vocabulary_, buckets_, max_distance_;
    double eps_;
    std::vector<ParameterSpec> parameters_;
};

T5::T5(const nlohmann::json& json) {
    ConfigReader config("text_encoder/config.json", json);
    config.only("model_type", "t5");
    config.only("feed_forward_proj", "gated-gelu");
    config.only("dense_act_fn", "gelu_new");
    width_ = config.required_size("d_model", kMostChannels);
    layers_ = config.required_size("num_layers", kMostLayers);
    heads_ = config.required_size("num_heads", kMostHeads);
    head_dim_ = config.required_size("d_kv", kMostHeadDim);
    hidden_ = config.required_size("d_ff", kMostHidden);
    vocabulary_ = config.required_size("vocab_size");
    buckets_ = config.size("relative_attention_num_buckets", 32, kMostChannels);
    max_distance_ = config.size("relative_attention_max_distance", 128);
    eps_ = config.number("layer_norm_epsilon", 1e-6);
    STEPD_REQUIRE(
        config.has("feed_forward_proj"), Code::unsupported,
        "text_encoder/config.json: feed_forward_proj is missing: only version 1.1 encoders (gated-gelu) are supported");
    parameters_ = recorded_parameters([this](Builder& b) {
        ValueId ids = b.input("ids", {1, 1}, DType::i32);
        record(b, ids, kNone);
    });
    for (ParameterSpec& p : parameters_) {
        if (p.name == "shared.weight") p.aliases = {"encoder.embed_tokens.weight"};
    }
}

// Files of the whole encoder-decoder model serve as well.
bool T5::ignores(const std::string& tensor) const {
    return tensor.starts_with("decoder.") || tensor == "lm_head.weight" || tensor == "encoder.embed_tokens.weight";
}

ValueId T5::record(Builder& b, ValueId ids, ValueId key_bias) const {
    ValueId table = b.parameter("shared.weight", {vocabulary_, width_});
    ValueId x = b.cast(b.op("embedding", {ids, table}), b.compute());
    const std::string first = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    ValueId positions = b.op("t5_position_bias", {b.parameter(first, {buckets_, heads_})},
                             {{"length", double(b.shape(ids)[1])}, {"max_distance", double(max_distance_)}});
    for (int64_t i = 0; i < layers_; ++i) {
        b.observed(detail::concat("hidden.", i), x);  // as transformers numbers hidden states
        std::string path = detail::concat("encoder.block.", i, ".layer.");
        ValueId normed = norm(b, path + "0.layer_norm", x);
        x = b.add(x, self_attention(b, path + "0.SelfAttention", normed, key_bias, positions));
        normed = norm(b, path + "1.layer_norm", x);
        x = b.add(x, gated_mlp(b, path + "1.DenseReluDense", normed));
    }
    return norm(b, "encoder.final_layer_norm", x);
}

ValueId T5::norm(Builder& b, const std::string& path, ValueId x) const {
    return b.op("rms_norm", {x, b.weight(path + ".weight", {width_})}, {{"eps", eps_}});
}

ValueId T5::self_attention(Builder& b, const std::string& path, ValueId x, ValueId key_bias, ValueId positions) const {
    int64_t inner = heads_ * head_dim_;
    ValueId q = nn::linear(b, path + ".q", x, inner, false);
    ValueId k = nn::linear(b, path + ".k", x, inner, false);
    ValueId v = nn::linear(b, path + ".v", x, inner, false);
    return nn::linear(b, path + ".o", b.attention(q, k, v, int(heads_), 1.0, key_bias, positions), width_, false);
}

ValueId T5::gated_mlp(Builder& b, const std::string& path, ValueId x) const {
    ValueId gate = b.gelu(nn::linear(b, path + ".wi_0", x, hidden_, false));
    ValueId value = nn::linear(b, path + ".wi_1", x, hidden_, false);
    return nn::linear(b, path + ".wo", b.mul(gate, value), width_, false);
}

}  // namespace

std::unique_ptr<TextEncoder> make_t5(const nlohmann::json& config) { return std::make_unique<T5>(config); }

}  // namespace stepd
