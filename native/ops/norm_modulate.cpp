#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_norm_modulate(const Graph& g, const Node& n) {
    Arguments a(g, n, 3, 3);
    a.require_floating(0);
    a.require_rank(0, 3);
    const Shape& x = a.shape(0);
    for (size_t i = 1; i < 3; ++i) {
        a.require_dtype(i, DType::f32);
        a.require_shape(i, {x[0], x[2]});
    }
    a.require(n.attr("eps") >= 0, "eps is negative");
    Value statistics = make_value({x[0], x[1]}, DType::f32);
    return {make_value(x, a.dtype(0)), statistics, statistics};
}

std::vector<Value> infer_norm_modulate_bwd(const Graph& g, const Node& n) {
    Arguments a(g, n, 5, 6);
    a.require_floating(0);
    a.require_floating(1);
    a.require_rank(1, 3);
    const Shape& x = a.shape(1);
    a.require_shape(0, x);
    a.require_dtype(2, DType::f32);
    a.require_shape(2, {x[0], x[2]});
    for (size_t i = 3; i < 5; ++i) {
        a.require_dtype(i, DType::f32);
        a.require_shape(i, {x[0], x[1]});
    }
    if (a.has(5)) {
        a.require_floating(5);
        a.require_shape(5, x);
    }
    Value vector = make_value({x[0], x[2]}, DType::f32);
    return {make_value(x, a.dtype(1)), vector, vector};
}

Cost cost_norm_modulate(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= 8;
    return c;
}

Cost cost_norm_modulate_bwd(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= 14;
    return c;
}

void vjp_norm_modulate(VjpContext& c) {
    require_first_output_only(c);
    const Node& n = c.node;
    std::vector<ValueId> d = c.builder.ops(
        "norm_modulate_bwd", {c.grad_outputs[0], n.inputs[0], n.inputs[1], n.outputs[1], n.outputs[2], kNone});
    for (size_t i = 0; i < 3; ++i) c.grad_inputs[i] = d[i];
}

}  // namespace

extern const Op norm_modulate{.name = "norm_modulate",
                              .infer = infer_norm_modulate,
                              .vjp = vjp_norm_modulate,
                              .cost = cost_norm_modulate,
                              .in_place = 0b1};
extern const Op norm_modulate_bwd{.name = "norm_modulate_bwd",
                                  .infer = infer_norm_modulate_bwd,
                                  .cost = cost_norm_modulate_bwd,
                                  .in_place = 0b100011};

}  // namespace stepd::ops
