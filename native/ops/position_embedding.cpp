#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 0, 0);
    int64_t dim = a.integer("dim", 4);
    a.require(dim % 4 == 0, "dim must be a multiple of 4");
    a.require(n.attr("base_size") > 0 && n.attr("interpolation") > 0, "base_size and interpolation must be positive");
    return {make_value({a.integer("height", 1) * a.integer("width", 1), dim}, DType::f32)};
}

}  // namespace

extern const Op position_embedding{.name = "position_embedding", .infer = infer, .cost = elementwise_cost};

}  // namespace stepd::ops
