#include "graph/builder.h"
#include "ops/arguments.h"
#include "ops/broadcast.h"

namespace stepd::ops {

namespace {

void vjp_mul(VjpContext& c) {
    ValueId a = c.node.inputs[0], b = c.node.inputs[1], dy = c.grad_outputs[0];
    Builder& builder = c.builder;
    if (c.needs(0)) c.grad_inputs[0] = builder.mul(dy, b);
    if (c.needs(1)) {
        ValueId product = builder.mul(builder.cast(dy, builder.dtype(b)), a);
        c.grad_inputs[1] = reduce_to(builder, product, builder.shape(b));
    }
}

}  // namespace

extern const Op mul{
    .name = "mul", .infer = infer_broadcast, .vjp = vjp_mul, .cost = elementwise_cost, .in_place = 0b11};

}  // namespace stepd::ops
