// The sum of a gradient and linear_dx(dy, w) -> linear_dx with that gradient as `add`. The sum is the later of the two
// nodes, so the gradient is there by then.
#include "graph/rewrite/pattern.h"

namespace stepd {

int fuse_linear_dx_add(Graph& g) {
    Readers readers(g);
    int fired = 0;
    for (Node& node : g.nodes) {
        if (!is(node, "add")) continue;
        for (size_t side : {size_t(1), size_t(0)}) {  // autodiff adds the newest contribution as the second argument
            ValueId dx = node.inputs[side], other = node.inputs[1 - side];
            int index = made_by(g, dx, "linear_dx");
            if (index < 0 || !readers.only_one(dx) || g.value(dx).shape != g.value(other).shape) continue;
            Node& linear_dx = g.nodes[size_t(index)];
            if (input_of(linear_dx, 2) != kNone) continue;
            node.op = linear_dx.op;
            node.inputs = {linear_dx.inputs[0], linear_dx.inputs[1], other};
            node.attrs["dtype"] = double(g.value(node.outputs[0]).dtype);
            empty_node(linear_dx);
            ++fired;
            break;
        }
    }
    erase_emptied(g);
    return fired;
}

}  // namespace stepd
