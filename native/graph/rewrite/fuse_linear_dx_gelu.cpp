// gelu_bwd(linear_dx(dy, w), pre) -> linear_dx_gelu.
#include "graph/rewrite/pattern.h"

namespace stepd {

int fuse_linear_dx_gelu(Graph& g) {
    Readers readers(g);
    int fired = 0;
    for (Node& node : g.nodes) {
        if (!is(node, "gelu_bwd")) continue;
        ValueId dy = node.inputs[0], pre = node.inputs[1];
        int index = made_by(g, dy, "linear_dx");
        if (index < 0 || !readers.only_one(dy)) continue;
        Node& linear_dx = g.nodes[size_t(index)];
        if (input_of(linear_dx, 2) != kNone) continue;
        node.op = find_op("linear_dx_gelu");
        node.inputs = {linear_dx.inputs[0], linear_dx.inputs[1], pre};
        node.attrs = linear_dx.attrs;
        empty_node(linear_dx);
        ++fired;
    }
    erase_emptied(g);
    return fired;
}

}  // namespace stepd
