#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 3, 3);
    a.require_floating(0);
    a.require_rank(0, 4);
    int64_t channels = a.dim(0, 3);
    for (size_t i = 1; i < 3; ++i) {
        a.require_floating(i);
        a.require_shape(i, {channels});
    }
    int64_t groups = a.integer("groups", 1);
    a.require(channels % groups == 0, detail::concat(channels, " channels do not divide into ", groups, " groups"));
    a.require(n.attr("eps") >= 0, "eps is negative");
    a.integer("silu", 0, 1);
    return {make_value(a.shape(0), a.dtype(0))};
}

Cost cost(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= n.attr("silu") != 0 ? 12 : 7;
    return c;
}

}  // namespace

extern const Op group_norm{.name = "group_norm", .infer = infer, .cost = cost};

}  // namespace stepd::ops
