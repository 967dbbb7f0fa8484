#include "graph/rewrite/pattern.h"

#include <algorithm>

namespace stepd {

Readers::Readers(const Graph& g) : graph_(g), readers_(g.values.size()) {
    for (size_t i = 0; i < g.nodes.size(); ++i) {
        for (ValueId v : g.nodes[i].inputs) {
            if (v != kNone) readers_[size_t(v)].push_back(int(i));
        }
    }
}

bool Readers::only_one(ValueId v) const { return of(v).size() == 1 && graph_.value(v).role == Role::temporary; }

bool Readers::all_after(ValueId v, int node) const {
    return std::all_of(of(v).begin(), of(v).end(), [&](int reader) { return reader >= node; });
}

int made_by(const Graph& g, ValueId v, std::string_view op) {
    if (v == kNone || g.value(v).producer < 0) return -1;
    const Node& node = g.nodes[size_t(g.value(v).producer)];
    return is(node, op) && node.outputs[0] == v ? g.value(v).producer : -1;
}

void erase_emptied(Graph& g) {
    std::erase_if(g.nodes, [](const Node& node) { return !node.op; });
    g.renumber();
}

}  // namespace stepd
