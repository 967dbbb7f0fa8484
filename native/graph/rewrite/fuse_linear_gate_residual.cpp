// gate_residual(r, gate, linear(x, w, b)) -> linear_gate_residual.
#include "graph/rewrite/pattern.h"

namespace stepd {

int fuse_linear_gate_residual(Graph& g) {
    Readers readers(g);
    int fired = 0;
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        Node& node = g.nodes[i];
        if (!is(node, "gate_residual")) continue;
        ValueId residual = node.inputs[0], gate = node.inputs[1], y = node.inputs[2];
        int index = made_by(g, y, "linear");
        if (index < 0 || g.value(y).role != Role::temporary || residual == y || !readers.all_after(y, int(i))) continue;
        Node& linear = g.nodes[size_t(index)];
        node.op = find_op("linear_gate_residual");
        node.inputs = {linear.inputs[0], linear.inputs[1], input_of(linear, 2), gate, residual};
        node.outputs.push_back(y);
        node.attrs = linear.attrs;
        empty_node(linear);
        ++fired;
    }
    erase_emptied(g);
    return fired;
}

}  // namespace stepd
