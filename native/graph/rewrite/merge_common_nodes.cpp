// Nodes with the same op, arguments and attributes become one: every op is a pure function.
#include <map>
#include <tuple>

#include "graph/rewrite/pattern.h"

namespace stepd {

int merge_common_nodes(Graph& g) {
    using Key = std::tuple<const Op*, std::vector<ValueId>, Attrs>;
    std::map<Key, size_t> known;
    std::vector<ValueId> replacement(g.values.size());
    for (size_t i = 0; i < replacement.size(); ++i) replacement[i] = ValueId(i);
    int merged = 0;
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        Node& node = g.nodes[i];
        for (ValueId& v : node.inputs) {
            if (v != kNone) v = replacement[size_t(v)];
        }
        bool temporary = true;
        for (ValueId v : node.outputs) temporary &= v != kNone && g.value(v).role == Role::temporary;
        if (!temporary) continue;
        auto [it, fresh] = known.try_emplace(Key{node.op, node.inputs, node.attrs}, i);
        if (fresh) continue;
        const Node& first = g.nodes[it->second];
        for (size_t k = 0; k < node.outputs.size(); ++k) replacement[size_t(node.outputs[k])] = first.outputs[k];
        empty_node(node);
        ++merged;
    }
    erase_emptied(g);
    return merged;
}

}  // namespace stepd
