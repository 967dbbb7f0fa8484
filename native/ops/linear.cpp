// linear, its two gradients, and their fused forms (which only the rewrites emit).
#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

// x[..,K] with w[M,K] and an optional b[M]: the shape [..,M].
Shape linear_shape(const Arguments& a) {
    a.require_floating(0);
    a.require_floating(1);
    a.require_rank(1, 2);
    a.require(a.rank(0) >= 1 && a.dim(0, -1) == a.dim(1, 1),
              detail::concat("x has ", a.dim(0, -1), " features, w takes ", a.dim(1, 1)));
    if (a.has(2)) {
        a.require_floating(2);
        a.require_shape(2, {a.dim(1, 0)});
    }
    Shape y = a.shape(0);
    y.back() = a.dim(1, 0);
    return y;
}

// dy[..,M] with w[M,K]: the shape [..,K].
Shape linear_dx_shape(const Arguments& a) {
    a.require_floating(0);
    a.require_floating(1);
    a.require_rank(1, 2);
    a.require(a.rank(0) >= 1 && a.dim(0, -1) == a.dim(1, 0),
              detail::concat("dy has ", a.dim(0, -1), " features, w makes ", a.dim(1, 0)));
    Shape dx = a.shape(0);
    dx.back() = a.dim(1, 1);
    return dx;
}

std::vector<Value> infer_linear(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 3);
    return {make_value(linear_shape(a), a.dtype_attr(a.dtype(0)))};
}

std::vector<Value> infer_linear_gelu(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 3);
    Value y = make_value(linear_shape(a), a.dtype_attr(a.dtype(0)));
    return {y, y};
}

std::vector<Value> infer_linear_gate_residual(const Graph& g, const Node& n) {
    Arguments a(g, n, 5, 5);
    Shape y = linear_shape(a);
    a.require(a.rank(0) >= 2, "x needs rows");
    if (a.has(3)) {
        a.require_rank(0, 3);
        a.require_dtype(3, DType::f32);
        a.require_shape(3, {y[0], y[2]});
    }
    a.require_floating(4);
    a.require_shape(4, y);
    return {make_value(y, a.dtype(4)), make_value(y, a.dtype_attr(a.dtype(0)))};
}

std::vector<Value> infer_linear_dx(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 3);
    Shape dx = linear_dx_shape(a);
    if (a.has(2)) {
        a.require_floating(2);
        a.require_shape(2, dx);
    }
    return {make_value(dx, a.dtype_attr(a.dtype(0)))};
}

std::vector<Value> infer_linear_dx_gelu(const Graph& g, const Node& n) {
    Arguments a(g, n, 3, 3);
    Shape dx = linear_dx_shape(a);
    a.require_floating(2);
    a.require_shape(2, dx);
    return {make_value(dx, a.dtype_attr(a.dtype(0)))};
}

std::vector<Value> infer_linear_dw(const Graph& g, const Node& n) {
    Arguments a(g, n, 2, 2);
    a.require_floating(0);
    a.require_floating(1);
    Shape rows_dy = a.shape(0), rows_x = a.shape(1);
    a.require(!rows_dy.empty() && !rows_x.empty(), "dy and x need a feature dimension");
    rows_dy.pop_back();
    rows_x.pop_back();
    a.require(rows_dy == rows_x, "dy and x differ in their leading dimensions");
    std::vector<Value> out{make_value({a.dim(0, -1), a.dim(1, -1)}, DType::f32)};
    if (a.integer("bias", 0, 1)) out.push_back(make_value({a.dim(0, -1)}, DType::f32));
    return out;
}

// 2 FLOP a multiply-add; `epilogue` FLOP for each element of output 0.
Cost matmul_cost(const Graph& g, const Node& n, double epilogue) {
    const Shape& x = g.value(n.inputs[0]).shape;
    const Shape& w = g.value(n.inputs[1]).shape;
    double rows = double(numel(x)) / double(x.back());
    Cost cost = traffic(g, n);
    cost.flop = 2 * rows * double(w[0]) * double(w[1]) + epilogue * double(numel(g.value(n.outputs[0]).shape));
    return cost;
}
Cost cost_linear(const Graph& g, const Node& n) { return matmul_cost(g, n, 1); }
Cost cost_linear_fused(const Graph& g, const Node& n) { return matmul_cost(g, n, 10); }

Cost cost_linear_dw(const Graph& g, const Node& n) {
    const Shape& x = g.value(n.inputs[1]).shape;
    Cost cost = traffic(g, n);
    cost.flop = 2 * double(numel(g.value(n.inputs[0]).shape)) * double(x.back());
    return cost;
}

void vjp_linear(VjpContext& c) {
    ValueId x = c.node.inputs[0], w = c.node.inputs[1], dy = c.grad_outputs[0];
    bool bias = c.node.inputs.size() > 2 && c.node.inputs[2] != kNone && c.needs(2);
    if (c.needs(1)) {
        std::vector<ValueId> dw = c.builder.ops("linear_dw", {dy, x}, {{"bias", bias}});
        c.grad_inputs[1] = dw[0];
        if (bias) c.grad_inputs[2] = dw[1];
    } else if (bias) {
        c.grad_inputs[2] = c.builder.op("sum_leading", {dy}, {{"rank", 1}});
    }
    if (c.needs(0)) {
        Attrs attrs;
        if (c.builder.dtype(x) != c.builder.dtype(dy)) attrs["dtype"] = double(c.builder.dtype(x));
        c.grad_inputs[0] = c.builder.op("linear_dx", {dy, w}, attrs);
    }
}

}  // namespace

extern const Op linear{.name = "linear", .infer = infer_linear, .vjp = vjp_linear, .cost = cost_linear};
extern const Op linear_gelu{.name = "linear_gelu",
                            .infer = infer_linear_gelu,
                            .cost = cost_linear_fused,
                            .optional_output = 1,
                            .last_step = "gelu"};
extern const Op linear_gate_residual{.name = "linear_gate_residual",
                                     .infer = infer_linear_gate_residual,
                                     .cost = cost_linear_fused,
                                     .in_place = 0b10000,
                                     .optional_output = 1};
extern const Op linear_dx{.name = "linear_dx", .infer = infer_linear_dx, .cost = cost_linear, .in_place = 0b100};
extern const Op linear_dx_gelu{
    .name = "linear_dx_gelu", .infer = infer_linear_dx_gelu, .cost = cost_linear_fused, .in_place = 0b100};
extern const Op linear_dw{.name = "linear_dw", .infer = infer_linear_dw, .cost = cost_linear_dw};

}  // namespace stepd::ops
