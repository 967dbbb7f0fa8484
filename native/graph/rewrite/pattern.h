// What the rewrite passes share: who reads a value, and replacing values and nodes.
#pragma once

#include <iterator>
#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "ops/op.h"

namespace stepd {

inline bool is(const Node& node, std::string_view op) { return node.op->name == op; }

// Readers of every value, kept up to date by the passes that use it. Values that are outputs count one reader more.
class Uses {
public:
    explicit Uses(const Graph& g) : readers_(g.values.size()), graph_(g) {
        for (size_t i = 0; i < g.nodes.size(); ++i) {
            for (ValueId v : g.nodes[i].inputs) {
                if (v != kNone) readers_[size_t(v)].push_back(int(i));
            }
        }
    }
    const std::vector<int>& readers(ValueId v) const { return readers_[size_t(v)]; }
    // Read exactly once, and not an output.
    bool single(ValueId v) const { return readers_[size_t(v)].size() == 1 && graph_.value(v).role == Role::temporary; }
    // The producing node when it is the given op and v its output 0, else null.
    const Node* made_by(ValueId v, std::string_view op) const {
        if (v == kNone || graph_.value(v).producer < 0) return nullptr;
        const Node& node = graph_.nodes[size_t(graph_.value(v).producer)];
        return is(node, op) && node.outputs[0] == v ? &node : nullptr;
    }

private:
    std::vector<std::vector<int>> readers_;
    const Graph& graph_;
};

// Removes the nodes that a pass has emptied (op == null) and renumbers.
void erase_emptied(Graph& g);

}  // namespace stepd
