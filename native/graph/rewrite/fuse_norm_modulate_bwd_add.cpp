// The sum of a gradient and norm_modulate_bwd(..).dx -> norm_modulate_bwd with that gradient as `add`.
#include "graph/rewrite/pattern.h"

namespace stepd {

int fuse_norm_modulate_bwd_add(Graph& g) {
    Readers readers(g);
    int fired = 0;
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        Node& node = g.nodes[i];
        if (!is(node, "add")) continue;
        for (size_t side : {size_t(1), size_t(0)}) {
            ValueId dx = node.inputs[side], other = node.inputs[1 - side];
            int index = made_by(g, dx, "norm_modulate_bwd");
            if (index < 0 || !readers.only_one(dx) || g.value(dx).shape != g.value(other).shape) continue;
            Node& norm = g.nodes[size_t(index)];
            bool same_type = g.value(dx).dtype == g.value(node.outputs[0]).dtype;
            bool in_order = readers.all_after(norm.outputs[1], int(i)) && readers.all_after(norm.outputs[2], int(i));
            if (input_of(norm, 5) != kNone || !same_type || !in_order) continue;
            ValueId sum = node.outputs[0];
            node.op = norm.op;
            node.inputs = norm.inputs;
            node.inputs.resize(6, kNone);
            node.inputs[5] = other;
            node.outputs = {sum, norm.outputs[1], norm.outputs[2]};
            empty_node(norm);
            ++fired;
            break;
        }
    }
    erase_emptied(g);
    return fired;
}

}  // namespace stepd
