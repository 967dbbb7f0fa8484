// What the rewrite passes share. A pass looks for a pattern, overwrites the last node of it with the fused node,
// empties the others, and calls erase_emptied() at its end; node indices stay valid until then.
#pragma once

#include <string_view>
#include <vector>

#include "graph/graph.h"
#include "ops/op.h"

namespace stepd {

inline bool is(const Node& node, std::string_view op) { return node.op && node.op->name == op; }

// The nodes that read each value when a pass begins.
class Readers {
public:
    explicit Readers(const Graph& g);

    const std::vector<int>& of(ValueId v) const { return readers_[size_t(v)]; }
    // A temporary that one node reads, once.
    bool only_one(ValueId v) const;
    // Whether every reader of v but `node` itself comes after that node.
    bool all_after(ValueId v, int node) const;

private:
    const Graph& graph_;
    std::vector<std::vector<int>> readers_;
};

// Index of the node whose output 0 is v if it is the given op, else -1.
int made_by(const Graph& g, ValueId v, std::string_view op);

// Input i, kNone when it is absent or beyond the last argument.
inline ValueId input_of(const Node& node, size_t i) { return i < node.inputs.size() ? node.inputs[i] : kNone; }

inline void empty_node(Node& node) { node.op = nullptr; }
void erase_emptied(Graph& g);

}  // namespace stepd
