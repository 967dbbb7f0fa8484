#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    int64_t rank = a.integer("rank", 0, int64_t(a.rank(0)));
    return {make_value(Shape(a.shape(0).end() - rank, a.shape(0).end()), DType::f32)};
}

Cost cost(const Graph& g, const Node& n) {
    Cost c = traffic(g, n);
    c.flop = double(numel(g.value(n.inputs[0]).shape));
    return c;
}

}  // namespace

extern const Op sum_leading{.name = "sum_leading", .infer = infer, .cost = cost};

}  // namespace stepd::ops
