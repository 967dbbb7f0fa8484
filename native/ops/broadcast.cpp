#include "ops/broadcast.h"

#include <algorithm>

#include "ops/arguments.h"

namespace stepd {

std::vector<Value> infer_broadcast(const Graph& g, const Node& node) {
    Arguments a(g, node, 2, 2);
    a.require_floating(0);
    a.require_floating(1);
    const Shape& whole = a.shape(0);
    const Shape& part = a.shape(1);
    a.require(part.size() <= whole.size() && std::equal(part.rbegin(), part.rend(), whole.rbegin()),
              "the second shape must be the first one or a suffix of it");
    return {make_value(whole, a.dtype(0))};
}

ValueId reduce_to(Builder& builder, ValueId dy, const Shape& shape) {
    if (builder.shape(dy).size() == shape.size()) return dy;
    return builder.op("sum_leading", {dy}, {{"rank", double(shape.size())}});
}

}  // namespace stepd
