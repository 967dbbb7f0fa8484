#pragma once

#include <string>

#include "graph/builder.h"

namespace stepd::nn {

// Sinusoid of the timestep [B] through path.linear_1, SiLU, path.linear_2: [B,out] f32.
ValueId timestep_embedding(Builder& b, const std::string& path, ValueId timestep, int64_t out);

// Adds the fixed two-dimensional sin-cos table to tokens [B, rows*columns, D] in row-major order. Coordinates run over
// [0, base_size / interpolation) in both directions whatever the grid.
ValueId add_position_table(Builder& b, ValueId tokens, int64_t rows, int64_t columns, int64_t base_size,
                           double interpolation);

}  // namespace stepd::nn
