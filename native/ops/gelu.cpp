#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_gelu(const Graph& g, const Node& n) { return infer_elementwise(g, n, 1); }
std::vector<Value> infer_gelu_bwd(const Graph& g, const Node& n) { return infer_elementwise(g, n, 2); }

Cost cost_gelu(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= 12;
    return c;
}

void vjp_gelu(VjpContext& c) { c.grad_inputs[0] = c.builder.op("gelu_bwd", {c.grad_outputs[0], c.node.inputs[0]}); }

}  // namespace

extern const Op gelu{.name = "gelu", .infer = infer_gelu, .vjp = vjp_gelu, .cost = cost_gelu, .in_place = 0b1};
extern const Op gelu_bwd{.name = "gelu_bwd", .infer = infer_gelu_bwd, .cost = cost_gelu, .in_place = 0b11};

}  // namespace stepd::ops
