#pragma once

#include <string>

#include "graph/builder.h"

namespace stepd::nn {

// diffusers' FeedForward with "gelu-approximate": path.net.0.proj, gelu, path.net.2. x [..,D] -> [..,D].
ValueId feed_forward(Builder& b, const std::string& path, ValueId x, int64_t hidden);

// path.linear_1, gelu, path.linear_2: projects text embeddings into the model. x [..,E] -> [..,out].
ValueId text_projection(Builder& b, const std::string& path, ValueId x, int64_t out);

}  // namespace stepd::nn
