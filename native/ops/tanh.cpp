#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) { return infer_elementwise(g, n, 1); }

Cost cost(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= 8;
    return c;
}

}  // namespace

extern const Op tanh{.name = "tanh", .infer = infer, .cost = cost, .in_place = 0b1};

}  // namespace stepd::ops
