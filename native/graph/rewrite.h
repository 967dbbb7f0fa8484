// Graph rewrites: each pass keeps every output's value (up to rounding) and makes the plan smaller or faster.
#pragma once

#include <span>

#include "graph/graph.h"

namespace stepd {

// Runs all passes of graph/rewrite/rewrites.inc, in order. Returns how many rewrites fired.
int rewrite(Graph& g);

struct Rewrite {
    const char* name;
    int (*run)(Graph& g);  // returns how often the pattern fired
};
std::span<const Rewrite> all_rewrites();

}  // namespace stepd
