#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 2);
    a.require_dtype(0, DType::i32);
    a.require_floating(1);
    a.require_rank(1, 2);
    Shape shape = a.shape(0);
    shape.push_back(a.dim(1, 1));
    return {make_value(shape, a.dtype(1))};
}

// Only the rows that are looked up are read.
Cost cost(const Graph& g, const Node& n) {
    const Value& ids = g.value(n.inputs[0]);
    const Value& y = g.value(n.outputs[0]);
    return {0, double(numel(ids.shape)) * 4 + 2 * double(numel(y.shape)) * double(size_of(y.dtype))};
}

}  // namespace

extern const Op embedding{.name = "embedding", .infer = infer, .cost = cost};

}  // namespace stepd::ops
