#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_slice(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    auto axis = size_t(a.integer("axis", 0, int64_t(a.rank(0)) - 1));
    Shape shape = a.shape(0);
    int64_t begin = a.integer("begin", 0, shape[axis] - 1);
    shape[axis] = a.integer("length", 1, shape[axis] - begin);
    return {make_value(shape, a.dtype(0))};
}

std::vector<Value> infer_slice_bwd(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    auto axis = size_t(a.integer("axis", 0, int64_t(a.rank(0)) - 1));
    Shape shape = a.shape(0);
    int64_t begin = a.integer("begin", 0);
    shape[axis] = a.integer("extent", begin + shape[axis]);
    return {make_value(shape, a.dtype(0))};
}

void vjp_slice(VjpContext& c) {
    double axis = c.node.attr("axis");
    double extent = double(c.builder.shape(c.node.inputs[0])[size_t(axis)]);
    c.grad_inputs[0] = c.builder.op("slice_bwd", {c.grad_outputs[0]},
                                    {{"axis", axis}, {"begin", c.node.attr("begin")}, {"extent", extent}});
}

}  // namespace

extern const Op slice{.name = "slice", .infer = infer_slice, .vjp = vjp_slice};
extern const Op slice_bwd{.name = "slice_bwd", .infer = infer_slice_bwd};

}  // namespace stepd::ops
