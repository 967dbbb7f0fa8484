#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 2);
    a.require_floating(0);
    a.require_floating(1);
    a.require_shape(1, {a.dim(0, -1)});
    a.require(n.attr("eps") >= 0, "eps is negative");
    return {make_value(a.shape(0), a.dtype(0))};
}

Cost cost(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= 4;
    return c;
}

}  // namespace

extern const Op rms_norm{.name = "rms_norm", .infer = infer, .cost = cost};

}  // namespace stepd::ops
