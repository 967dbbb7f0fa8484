#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.require_rank(0, 4);
    const Shape& x = a.shape(0);
    return {make_value({x[0], 2 * x[1], 2 * x[2], x[3]}, a.dtype(0))};
}

}  // namespace

extern const Op upsample_nearest{.name = "upsample_nearest", .infer = infer};

}  // namespace stepd::ops
