#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    n.attr("alpha");
    return infer_elementwise(g, n, 1);
}

void vjp(VjpContext& c) { c.grad_inputs[0] = c.builder.scale(c.grad_outputs[0], c.node.attr("alpha")); }

}  // namespace

extern const Op scale{.name = "scale", .infer = infer, .vjp = vjp, .cost = elementwise_cost, .in_place = 0b1};

}  // namespace stepd::ops
