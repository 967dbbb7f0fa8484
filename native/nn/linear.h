// Layers as builder functions. `path` is the module's name in the checkpoint: a layer's parameters are path + ".weight"
// and path + ".bias". Activations have the builder's compute dtype unless a comment says otherwise.
#pragma once

#include <string>

#include "graph/builder.h"

namespace stepd::nn {

// y = W x + b with W [out, in] and x [.., in], plus what the builder's adapter adds for this module.
ValueId linear(Builder& b, const std::string& path, ValueId x, int64_t out, bool bias = true);

// The same in f32 for x in f32: the path from timestep to modulation, where a rounded value shifts whole feature maps.
ValueId vector_linear(Builder& b, const std::string& path, ValueId x, int64_t out);

// A convolution whose kernel equals its stride, as a matrix product over patches of x [B,C,h,w]:
// [B, h/patch*w/patch, out] in the compute dtype. Weight [out, C, patch, patch].
ValueId patch_embedding(Builder& b, const std::string& path, ValueId x, int64_t out, int64_t patch);

}  // namespace stepd::nn
