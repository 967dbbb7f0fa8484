#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    Shape shape;
    while (n.attrs.count(detail::concat("d", shape.size()))) {
        shape.push_back(a.integer(detail::concat("d", shape.size()), 1));
    }
    a.require(numel(shape) == numel(a.shape(0)), "cannot take shape " + to_string(shape));
    return {make_value(shape, a.dtype(0))};
}

void vjp(VjpContext& c) { c.grad_inputs[0] = c.builder.reshape(c.grad_outputs[0], c.builder.shape(c.node.inputs[0])); }

}  // namespace

extern const Op reshape{.name = "reshape", .infer = infer, .vjp = vjp, .alias = true};

}  // namespace stepd::ops
