#include "ops/arguments.h"

namespace stepd::ops {

namespace {
std::vector<Value> infer(const Graph& g, const Node& n) { return infer_elementwise(g, n, 1); }
}  // namespace

extern const Op relu{.name = "relu", .infer = infer, .cost = elementwise_cost, .in_place = 0b1};

}  // namespace stepd::ops
