// A transformer of PixArt's block structure on the Builder, for the tests of the graph core.
#pragma once

#include <cmath>
#include <string>

#include "graph/autodiff.h"
#include "graph/builder.h"
#include "ops/op.h"

namespace stepd::test {

struct BlockConfig {
    int64_t batch = 2, channels = 4, height = 6, width = 4, text = 5, dim = 16;
    int heads = 2, layers = 2, patch = 2;
    DType compute = DType::f32, stored = DType::f32;
    bool train_modulation = true;  // false: only the attention and feed-forward weights train
    bool trains = true;
};

inline ValueId linear(Builder& b, const std::string& name, ValueId x, int64_t out) {
    return b.linear(x, b.weight(name + ".weight", {out, b.shape(x).back()}), b.weight(name + ".bias", {out}));
}

inline ValueId attend(Builder& b, const std::string& name, ValueId x, ValueId kv, int heads, ValueId key_bias) {
    int64_t dim = b.shape(x).back();
    ValueId q = linear(b, name + ".to_q", x, dim);
    ValueId k = linear(b, name + ".to_k", kv, dim);
    ValueId v = linear(b, name + ".to_v", kv, dim);
    return linear(b, name + ".to_out", b.attention(q, k, v, heads, 1 / std::sqrt(double(dim) / heads), key_bias), dim);
}

inline ValueId block(Builder& b, const BlockConfig& c, const std::string& name, ValueId x, ValueId text, ValueId time,
                     ValueId key_bias) {
    ValueId table = b.parameter(name + ".table", {6, c.dim});
    std::vector<ValueId> m = b.split(b.add(time, b.cast(table, DType::f32)), 1, 6);
    ValueId y = b.norm_modulate(x, m[1], m[0], 1e-6);
    x = b.gate_residual(x, m[2], attend(b, name + ".attn1", y, y, c.heads, kNone));
    x = b.add(x, attend(b, name + ".attn2", x, text, c.heads, key_bias));
    ValueId h = b.gelu(linear(b, name + ".ff1", b.norm_modulate(x, m[4], m[3], 1e-6), 4 * c.dim));
    return b.gate_residual(x, m[5], linear(b, name + ".ff2", h, c.dim));
}

// Records the forward part; the inputs are latents, timesteps, text, key_bias, target, weight, c and seed, the outputs
// prediction, loss and per_sample. Returns the loss.
inline ValueId record(Graph& g, const BlockConfig& c) {
    Builder b(g, c.compute, [&](const std::string& name) {
        bool modulation = name.find("table") != std::string::npos || name.find("time") != std::string::npos;
        return ParameterInfo{c.stored, c.trains && (c.train_modulation || !modulation)};
    });
    ValueId latents = b.input("latents", {c.batch, c.channels, c.height, c.width}, DType::f32);
    ValueId timesteps = b.input("timesteps", {c.batch}, DType::f32);
    ValueId text = b.input("text", {c.batch, c.text, c.dim}, c.compute);
    ValueId key_bias = b.input("key_bias", {c.batch, c.text}, DType::f32);
    ValueId target = b.input("target", {c.batch, c.channels, c.height, c.width}, DType::f32);
    ValueId weight = b.input("weight", {c.batch}, DType::f32);
    ValueId huber = b.input("c", {c.batch}, DType::f32);

    Attrs patch{{"patch", c.patch}, {"channel_last", 0}};
    ValueId x = linear(b, "embed", b.op("patchify", {b.cast(latents, c.compute)}, patch), c.dim);
    ValueId position = b.op("position_embedding", {},
                            {{"dim", double(c.dim)},
                             {"height", double(c.height / c.patch)},
                             {"width", double(c.width / c.patch)},
                             {"base_size", 4},
                             {"interpolation", 1}});
    x = b.add(x, position);
    ValueId t = b.cast(b.op("timestep_embedding", {timesteps}, {{"dim", 8}}), c.compute);
    ValueId time = b.cast(linear(b, "time", b.silu(linear(b, "time.in", t, c.dim)), 6 * c.dim), DType::f32);
    time = b.reshape(time, {c.batch, 6, c.dim});
    for (int i = 0; i < c.layers; ++i) x = block(b, c, "blocks." + std::to_string(i), x, text, time, key_bias);
    x = linear(b, "out", x, c.patch * c.patch * 2 * c.channels);
    Attrs unpatch{{"patch", c.patch}, {"height", double(c.height)}, {"width", double(c.width)}, {"channel_last", 1}};
    ValueId prediction = b.output("prediction", b.slice(b.op("unpatchify", {x}, unpatch), 1, 0, c.channels));
    std::vector<ValueId> loss = b.ops("diffusion_loss", {prediction, target, weight, huber}, {{"kind", 0}});
    b.output("loss", loss[0]);
    b.output("per_sample", loss[1]);
    return loss[0];
}

// Records forward and backward. Returns the number of gradients.
inline int record_training(Graph& g, const BlockConfig& c) {
    ValueId loss = record(g, c);
    ValueId seed = Builder(g, DType::f32).input("seed", {1}, DType::f32);
    return differentiate(g, loss, seed);
}

inline int count_nodes(const Graph& g, const std::string& op) {
    int count = 0;
    for (const Node& n : g.nodes) count += op == n.op->name;
    return count;
}

}  // namespace stepd::test
