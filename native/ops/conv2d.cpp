#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 3);
    a.require_floating(0);
    a.require_floating(1);
    a.require_rank(0, 4);
    a.require_rank(1, 4);
    const Shape& x = a.shape(0);
    const Shape& w = a.shape(1);
    a.require(x[3] == w[1], detail::concat("x has ", x[3], " channels, w takes ", w[1]));
    if (a.has(2)) {
        a.require_floating(2);
        a.require_shape(2, {w[0]});
    }
    int64_t stride = a.integer("stride", 1);
    int64_t height = x[1] + a.integer("top", 0) + a.integer("bottom", 0) - w[2];
    int64_t width = x[2] + a.integer("left", 0) + a.integer("right", 0) - w[3];
    a.require(height >= 0 && width >= 0, "the kernel is larger than the padded image");
    return {make_value({x[0], height / stride + 1, width / stride + 1, w[0]}, a.dtype(0))};
}

Cost cost(const Graph& g, const Node& n) {
    const Shape& w = g.value(n.inputs[1]).shape;
    Cost c = traffic(g, n);
    c.flop = 2 * double(numel(g.value(n.outputs[0]).shape)) * double(w[1] * w[2] * w[3]);
    return c;
}

}  // namespace

extern const Op conv2d{.name = "conv2d", .infer = infer, .cost = cost};

}  // namespace stepd::ops
