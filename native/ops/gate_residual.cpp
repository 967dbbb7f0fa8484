#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_gate_residual(const Graph& g, const Node& n) {
    Arguments a(g, n, 3, 3);
    a.require_floating(0);
    a.require_rank(0, 3);
    a.require_dtype(1, DType::f32);
    a.require_shape(1, {a.dim(0, 0), a.dim(0, 2)});
    a.require_floating(2);
    a.require_shape(2, a.shape(0));
    return {make_value(a.shape(0), a.dtype(0))};
}

std::vector<Value> infer_gate_residual_bwd(const Graph& g, const Node& n) {
    Arguments a(g, n, 3, 3);
    a.require_floating(0);
    a.require_rank(0, 3);
    Shape vector{a.dim(0, 0), a.dim(0, 2)};
    a.require_dtype(1, DType::f32);
    a.require_shape(1, vector);
    if (!a.has(2)) return {make_value(a.shape(0), a.dtype_attr(a.dtype(0)))};
    a.require_floating(2);
    a.require_shape(2, a.shape(0));
    return {make_value(a.shape(0), a.dtype(2)), make_value(vector, DType::f32)};
}

Cost cost(const Graph& g, const Node& n) {
    Cost c = elementwise_cost(g, n);
    c.flop *= double(n.outputs.size()) + 1;
    return c;
}

void vjp_gate_residual(VjpContext& c) {
    const Node& n = c.node;
    if (c.needs(0)) c.grad_inputs[0] = c.grad_outputs[0];
    if (!c.needs(1) && !c.needs(2)) return;
    ValueId dout = c.grad_outputs[0], gate = n.inputs[1], y = n.inputs[2];
    if (!c.needs(1)) {  // a frozen gate: y need not be kept
        Attrs attrs;
        if (c.builder.dtype(y) != c.builder.dtype(dout)) attrs["dtype"] = double(c.builder.dtype(y));
        c.grad_inputs[2] = c.builder.op("gate_residual_bwd", {dout, gate, kNone}, attrs);
        return;
    }
    std::vector<ValueId> d = c.builder.ops("gate_residual_bwd", {dout, gate, y});
    c.grad_inputs[2] = d[0];
    c.grad_inputs[1] = d[1];
}

}  // namespace

extern const Op gate_residual{
    .name = "gate_residual", .infer = infer_gate_residual, .vjp = vjp_gate_residual, .cost = cost, .in_place = 0b101};
extern const Op gate_residual_bwd{
    .name = "gate_residual_bwd", .infer = infer_gate_residual_bwd, .cost = cost, .in_place = 0b101};

}  // namespace stepd::ops
