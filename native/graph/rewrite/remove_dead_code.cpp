// Nodes whose outputs nothing reads, and optional outputs that nothing reads.
#include "graph/rewrite/pattern.h"

namespace stepd {

int remove_dead_code(Graph& g) {
    std::vector<bool> read(g.values.size());
    std::vector<Node> kept;
    for (size_t i = g.nodes.size(); i-- > 0;) {
        Node& node = g.nodes[i];
        bool alive = false;
        for (ValueId v : node.outputs) alive |= v != kNone && (read[size_t(v)] || g.value(v).role == Role::output);
        if (!alive) continue;
        for (ValueId v : node.inputs) {
            if (v != kNone) read[size_t(v)] = true;
        }
        kept.push_back(std::move(node));
    }
    auto removed = int(g.nodes.size() - kept.size());
    g.nodes.assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
    removed += drop_unread_outputs(g);
    g.renumber();
    return removed;
}

}  // namespace stepd
