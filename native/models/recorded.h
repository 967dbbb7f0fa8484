// Parameter lists taken from a recording, so that each name and shape is written once, in the forward code.
#pragma once

#include <functional>
#include <vector>

#include "models/family.h"

namespace stepd {

// Runs `record` on an empty graph and returns the parameters that it asked for, in the order of asking.
std::vector<ParameterSpec> recorded_parameters(const std::function<void(Builder&)>& record);

// Linear layers among them: two-dimensional weights.
std::vector<LinearModule> recorded_linear_modules(const std::vector<ParameterSpec>& parameters);

}  // namespace stepd
