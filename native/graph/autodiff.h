// Reverse-mode differentiation: appends the backward nodes to the graph.
#pragma once

#include <string>

#include "graph/graph.h"

namespace stepd {

// Name of the f32 output that holds the gradient of a parameter.
inline std::string gradient_name(const std::string& parameter) { return "grad." + parameter; }

// Differentiates the scalar `loss` [1] with respect to every trainable parameter; `seed` [1] f32 is
// d(objective)/d(loss) (1/accumulation). Adds an output gradient_name(p), f32, for each trainable parameter that the
// loss depends on, in graph order of the parameters, and returns their number. Nothing upstream of the first trainable
// parameter is differentiated. Throws Code::unsupported naming an op without a vector-Jacobian product.
int differentiate(Graph& g, ValueId loss, ValueId seed);

}  // namespace stepd
