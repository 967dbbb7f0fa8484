// gelu(linear(x, w, b)) -> linear_gelu, whose second output is what the derivative of the GELU needs.
#include <algorithm>

#include "graph/rewrite/pattern.h"

namespace stepd {

int fuse_linear_gelu(Graph& g) {
    Readers readers(g);
    int fired = 0;
    for (Node& node : g.nodes) {
        if (!is(node, "gelu")) continue;
        ValueId pre = node.inputs[0];
        int linear = made_by(g, pre, "linear");
        if (linear < 0 || g.value(pre).role != Role::temporary) continue;
        const std::vector<int>& all = readers.of(pre);
        if (std::count_if(all.begin(), all.end(), [&](int i) { return is(g.nodes[size_t(i)], "gelu"); }) != 1) continue;
        Node& fused = g.nodes[size_t(linear)];
        fused.op = find_op("linear_gelu");
        fused.outputs = {node.outputs[0], pre};
        empty_node(node);
        ++fired;
    }
    erase_emptied(g);
    return fired;
}

}  // namespace stepd
