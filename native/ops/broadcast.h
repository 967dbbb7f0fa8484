// Shared by add and mul: the second argument has the shape of the first, or a suffix of it.
#pragma once

#include "graph/builder.h"
#include "ops/op.h"

namespace stepd {

std::vector<Value> infer_broadcast(const Graph& g, const Node& node);

// The gradient dy summed over its leading dimensions until it has `shape` (dy itself when it already has).
ValueId reduce_to(Builder& builder, ValueId dy, const Shape& shape);

}  // namespace stepd
