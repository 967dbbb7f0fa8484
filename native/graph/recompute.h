// Keep or recompute: which forward values the backward part reads from memory, and which it makes again.
#pragma once

#include <cstdint>
#include <vector>

#include "base/cancellation.h"
#include "graph/graph.h"

namespace stepd {

// Works on memory groups (a value and its aliases). All forward values that the backward part reads start as kept.
class Recompute {
public:
    explicit Recompute(const Graph& g);

    // Drops kept values, those first that cost least to rebuild for each byte and node of lifetime they free, until the
    // estimated peak of live bytes is at most `target` or nothing helps. Returns whether anything was dropped.
    // cancellation: null, or what may stop it (Code::cancelled).
    bool reduce_peak(int64_t target, const Cancellation* cancellation = nullptr);

    // The graph in which every dropped value is made again just before its first reader in the backward part.
    Graph build() const;

private:
    struct Group {
        int64_t bytes = 0;
        int recipe = -1;            // what makes the root, -1 when external
        bool external = true;       // has memory outside the arena
        bool forward = false;       // a temporary of the forward part
        bool kept = false;          // forward, and readable in the backward part
        bool settled = false;       // not to be dropped: tried, and the peak did not fall
        int first = -1, last = -1;  // first and last node that uses it, for forward groups within the forward part
    };
    struct Span {  // nodes that use a group in the backward part; -1 while there is none
        int first = -1, last = -1;
    };

    void add_recipe(const Node& node);
    void add_groups(int index);
    void add_last_step(int index);
    const Node& recipe(int i) const {
        size_t n = graph_.nodes.size();
        return size_t(i) < n ? graph_.nodes[size_t(i)] : extra_recipes_[size_t(i) - n];
    }
    bool lost(ValueId group) const { return groups_[size_t(group)].forward && !groups_[size_t(group)].kept; }
    void simulate();
    void use(ValueId group, int node);
    void measure_peak();
    ValueId best_candidate();
    double rebuild_cost(ValueId group, int at, double& pulled);
    ValueId rebuilt(ValueId v, Graph& out, std::vector<ValueId>& clones) const;

    const Graph& graph_;
    std::vector<ValueId> storage_;
    std::vector<Group> groups_;  // indexed by storage
    // Recipes are the nodes of the graph, followed by cheaper ways to make one of their outputs (Op::last_step).
    std::vector<Node> extra_recipes_;
    std::vector<int> maker_;                            // per value: its recipe
    std::vector<double> cost_;                          // per recipe, in FLOP; memory traffic counts as well
    std::vector<std::vector<ValueId>> reads_, writes_;  // per recipe, groups
    // Result of the last simulation.
    std::vector<Span> spans_;     // per group
    std::vector<bool> repeated_;  // per recipe: runs in the backward part
    std::vector<int64_t> live_;   // per node, bytes
    int64_t peak_ = 0;
    int peak_node_ = 0;
    // Marks of rebuild_cost, per group.
    std::vector<int> visited_;
    int visit_ = 0;
};

}  // namespace stepd
