#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.integer("dtype", 0, 1);
    return {make_value(a.shape(0), a.dtype_attr(DType::f32))};
}

// Autodiff brings every gradient to the type that its value wants, so that the f32 gradient of a weight that is
// computed in bf16 reaches the f32 master without being rounded on the way.
void vjp(VjpContext& c) { c.grad_inputs[0] = c.grad_outputs[0]; }

}  // namespace

extern const Op cast{.name = "cast", .infer = infer, .vjp = vjp, .in_place = 0b1};

}  // namespace stepd::ops
