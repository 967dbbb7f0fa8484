// Gradient accumulation as part of the graph.
#pragma once

#include <string>

#include "graph/graph.h"

namespace stepd {

// Name of the input that holds a gradient's value from earlier micro-batches; `gradient` is the name of the output.
inline std::string earlier_name(const std::string& gradient) { return "earlier." + gradient; }

// Makes every gradient of a differentiated and rewritten graph a sum: the output grad.W is what the input
// earlier.grad.W holds plus what this replay computes. Both may be bound to the same memory, so that no second set of
// gradients exists; each contribution lives in the arena only until it is added. Returns how many there are.
int accumulate_gradients(Graph& g);

}  // namespace stepd
