#include "graph/builder.h"
#include "ops/arguments.h"
#include "ops/broadcast.h"

namespace stepd::ops {

namespace {

void vjp_add(VjpContext& c) {
    ValueId b = c.node.inputs[1], dy = c.grad_outputs[0];
    if (c.needs(0)) c.grad_inputs[0] = dy;
    if (c.needs(1)) c.grad_inputs[1] = reduce_to(c.builder, dy, c.builder.shape(b));
}

}  // namespace

extern const Op add{
    .name = "add", .infer = infer_broadcast, .vjp = vjp_add, .cost = elementwise_cost, .in_place = 0b11};

}  // namespace stepd::ops
