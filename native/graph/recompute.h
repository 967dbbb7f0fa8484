// Keep or recompute: which forward values the backward part reads from memory, and which it makes again.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace stepd {

// Works on memory groups (a value and its aliases). All forward values that the backward part reads start as kept.
class Recompute {
public:
    explicit Recompute(const Graph& g);

    // Drops kept values, those first that cost least to rebuild for each byte and node of lifetime they free, until the
    // estimated peak of live bytes is at most `target` or nothing helps. Returns whether anything was dropped.
    bool reduce_peak(int64_t target);

    // The graph in which every dropped value is made again just before its first reader in the backward part.
    Graph build() const;

private:
    struct Group {
        int64_t bytes = 0;
        int producer = -1;          // node that makes the root, -1 when external
        bool external = true;       // has memory outside the arena
        bool forward = false;       // a temporary of the forward part
        bool kept = false;          // forward, and readable in the backward part
        bool settled = false;       // not to be dropped: tried, and the peak did not fall
        int first = -1, last = -1;  // within the part that makes it
    };
    struct Span {  // of one group in the backward part; -1 while unused
        int first = -1, last = -1;
    };
    struct Candidate {
        ValueId group = kNone;
        double score = 0;
    };

    bool lost(ValueId group) const { return groups_[size_t(group)].forward && !groups_[size_t(group)].kept; }
    void simulate();
    void use(ValueId group, int node);
    Candidate best_candidate();
    double rebuild_cost(ValueId group, int at, double& pulled);
    ValueId rebuilt(ValueId v, Graph& out, std::vector<ValueId>& clones) const;

    const Graph& graph_;
    std::vector<ValueId> storage_;
    std::vector<Group> groups_;                         // indexed by storage
    std::vector<double> cost_;                          // per node, in FLOP; memory traffic counts as well
    std::vector<std::vector<ValueId>> reads_, writes_;  // per node, groups
    // Result of the last simulation.
    std::vector<Span> spans_;
    std::vector<bool> cloned_;  // per node
    std::vector<int64_t> live_;
    int64_t peak_ = 0;
    int peak_node_ = 0;
    std::vector<int> visited_;  // per group, stamp of rebuild_cost
    int stamp_ = 0;
};

}  // namespace stepd
