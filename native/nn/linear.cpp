#include "nn/linear.h"

#include "adapters/adapter.h"

namespace stepd::nn {

namespace {

ValueId with_adapter(Builder& b, const std::string& path, ValueId x, ValueId base) {
    return b.adapter ? b.adapter->record(b, path, x, base) : base;
}

}  // namespace

ValueId linear(Builder& b, const std::string& path, ValueId x, int64_t out, bool bias) {
    ValueId w = b.weight(path + ".weight", {out, b.shape(x).back()});
    ValueId offset = bias ? b.parameter(path + ".bias", {out}) : kNone;
    return with_adapter(b, path, x, b.linear(x, w, offset));
}

ValueId vector_linear(Builder& b, const std::string& path, ValueId x, int64_t out) {
    ValueId w = b.parameter(path + ".weight", {out, b.shape(x).back()});
    ValueId offset = b.parameter(path + ".bias", {out});
    return with_adapter(b, path, x, b.linear_to(DType::f32, x, w, offset));
}

ValueId patch_embedding(Builder& b, const std::string& path, ValueId x, int64_t out, int64_t patch) {
    int64_t features = b.shape(x)[1] * patch * patch;
    ValueId tokens = b.op("patchify", {x}, {{"patch", double(patch)}, {"channel_last", 0}});
    ValueId w = b.weight(path + ".weight", {out, b.shape(x)[1], patch, patch});
    ValueId offset = b.parameter(path + ".bias", {out});
    return b.linear(b.cast(tokens, b.compute()), b.reshape(w, {out, features}), offset);
}

}  // namespace stepd::nn
