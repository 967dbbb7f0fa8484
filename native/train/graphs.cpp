#include "train/graphs.h"

#include "graph/accumulate.h"
#include "graph/autodiff.h"
#include "graph/builder.h"
#include "graph/rewrite.h"

namespace stepd {

ValueId DenoiserGraphs::record_prediction(Builder& b, const Adapter* applied, const Bucket& bucket) const {
    b.adapter = applied;
    const Shape latents = {bucket.batch, denoiser.latent_channels(), bucket.latent_height, bucket.latent_width};
    ValueId x = b.input(port::latents, latents, DType::f32);
    ValueId t = b.input(port::timestep, {bucket.batch}, DType::f32);
    ValueId text = b.input(port::text, {bucket.batch, bucket.text_tokens, denoiser.text_width()}, b.compute());
    ValueId bias = b.input(port::text_bias, {bucket.batch, bucket.text_tokens}, DType::f32);
    return denoiser.record(b, bucket, x, t, text, bias);
}

ValueId DenoiserGraphs::record_loss(Builder& b, const Adapter* applied, const Bucket& bucket, LossKind kind) const {
    ValueId prediction = record_prediction(b, applied, bucket);
    ValueId target = b.input(port::target, b.shape(prediction), DType::f32);
    ValueId weight = b.input(port::weight, {bucket.batch}, DType::f32);
    ValueId c = b.input(port::huber_c, {bucket.batch}, DType::f32);
    ValueId loss = b.ops("diffusion_loss", {prediction, target, weight, c}, {{"kind", double(kind)}})[0];
    b.output(port::loss, loss);
    return loss;
}

ParameterInfo DenoiserGraphs::frozen(const std::string& name, bool average) const {
    ParameterInfo info = layout.info(name, average);
    info.trainable = false;
    return info;
}

Graph DenoiserGraphs::record_training(const Bucket& bucket, LossKind kind, bool adding) const {
    Graph g;
    Builder b(g, compute, [this](const std::string& name) { return layout.info(name); });
    ValueId loss = record_loss(b, adapter, bucket, kind);
    ValueId seed = b.input(port::loss_scale, {1}, DType::f32);
    differentiate(g, loss, seed);
    rewrite(g);
    if (adding) accumulate_gradients(g);
    return g;
}

Graph DenoiserGraphs::record_evaluation(const Bucket& bucket, LossKind kind) const {
    Graph g;
    Builder b(g, compute, [this](const std::string& name) { return frozen(name, false); });
    record_loss(b, sampling_adapter, bucket, kind);
    rewrite(g);
    return g;
}

Graph DenoiserGraphs::record_sampling(const Bucket& bucket, bool average) const {
    Graph g;
    Builder b(g, compute, [this, average](const std::string& name) { return frozen(name, average); });
    ValueId prediction = record_prediction(b, sampling_adapter, bucket);
    b.output(port::prediction, b.cast(prediction, DType::f32));
    rewrite(g);
    return g;
}

}  // namespace stepd
