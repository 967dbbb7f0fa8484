#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_dtype(0, DType::f32);
    a.require_rank(0, 1);
    int64_t dim = a.integer("dim", 2);
    a.require(dim % 2 == 0, "dim must be even");
    return {make_value({a.dim(0, 0), dim}, DType::f32)};
}

}  // namespace

extern const Op timestep_embedding{.name = "timestep_embedding", .infer = infer, .cost = elementwise_cost};

}  // namespace stepd::ops
