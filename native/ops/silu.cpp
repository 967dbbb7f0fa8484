#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_silu(const Graph& g, const Node& n) { return infer_elementwise(g, n, 1); }
std::vector<Value> infer_silu_bwd(const Graph& g, const Node& n) { return infer_elementwise(g, n, 2); }

Cost cost_silu(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= 6;
    return c;
}

void vjp_silu(VjpContext& c) { c.grad_inputs[0] = c.builder.op("silu_bwd", {c.grad_outputs[0], c.node.inputs[0]}); }

}  // namespace

extern const Op silu{.name = "silu", .infer = infer_silu, .vjp = vjp_silu, .cost = cost_silu, .in_place = 0b1};
extern const Op silu_bwd{.name = "silu_bwd", .infer = infer_silu_bwd, .cost = cost_silu, .in_place = 0b11};

}  // namespace stepd::ops
