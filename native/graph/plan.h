// Memory plan: lifetimes, one arena, in-place and aliased values, keep-or-recompute under a byte budget. Exact before
// anything is allocated: the executor uses these bytes and no others.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/cancellation.h"
#include "graph/graph.h"

namespace stepd {

struct PlanOptions {
    // Upper bound for the arena in bytes; forward values are recomputed in the backward part until it fits, or until no
    // more can be gained (the plan is then larger than asked: compare arena_bytes). < 0: keep everything.
    int64_t arena_budget = -1;
    const Cancellation* cancellation = nullptr;  // may stop the planning (Code::cancelled)
};

struct PlanReport {
    int64_t parameter_bytes = 0;
    int64_t gradient_bytes = 0;  // outputs named grad.*
    int64_t input_bytes = 0;
    int64_t output_bytes = 0;  // other outputs
    int64_t arena_bytes = 0;   // all temporaries
    double flop = 0;           // one replay, recomputation included
    double recomputed_flop = 0;
    double bytes = 0;  // least memory traffic of one replay
    int recomputed_nodes = 0;
};

struct Plan {
    Graph graph;                   // nodes in execution order, recomputed ones inserted
    std::vector<ValueId> storage;  // per value: the value whose memory it uses, itself when it has its own
    std::vector<int64_t> offsets;  // per value: byte offset in the arena, -1 when not in the arena
    // Per node: storages that nothing reads after it.
    std::vector<std::vector<ValueId>> released;
    PlanReport report;
};

// Takes a complete (differentiated, rewritten) graph. Deterministic.
Plan make_plan(Graph graph, const PlanOptions& options = {});

std::string print(const PlanReport& report);  // one line a number

}  // namespace stepd
