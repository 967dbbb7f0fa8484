// r + linear(x, w, b) -> linear_gate_residual without a gate: residual connections without modulation, and the
// up-projection of an adapter onto the output of its base layer.
#include "graph/rewrite/pattern.h"

namespace stepd {

int fuse_linear_add(Graph& g) {
    Readers readers(g);
    int fired = 0;
    for (Node& node : g.nodes) {
        if (!is(node, "add")) continue;
        for (size_t side : {size_t(1), size_t(0)}) {  // of two products the later one takes the other as r
            ValueId y = node.inputs[side], residual = node.inputs[1 - side], sum = node.outputs[0];
            int index = made_by(g, y, "linear");
            if (index < 0 || !readers.only_one(y) || g.value(y).shape.size() < 2) continue;
            if (g.value(residual).shape != g.value(sum).shape || g.value(residual).dtype != g.value(sum).dtype)
                continue;
            Node& linear = g.nodes[size_t(index)];
            node.op = find_op("linear_gate_residual");
            node.inputs = {linear.inputs[0], linear.inputs[1], input_of(linear, 2), kNone, residual};
            node.outputs = {sum, kNone};
            node.attrs = linear.attrs;
            empty_node(linear);
            ++fired;
            break;
        }
    }
    erase_emptied(g);
    return fired;
}

}  // namespace stepd
