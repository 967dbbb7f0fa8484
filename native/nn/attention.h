#pragma once

#include <string>

#include "graph/builder.h"

namespace stepd::nn {

struct AttentionOptions {
    int heads = 1;
    int64_t head_dim = 0;
    bool bias = true;          // of the query, key and value projections
    ValueId key_bias = kNone;  // [B,N] f32 added to the scores of each key
};

// Attention as diffusers names it: path.to_q, to_k, to_v, to_out.0; scores are scaled by 1/sqrt(head_dim).
// queries [B,S,D], context [B,N,E] (the same value for self-attention) -> [B,S,out].
ValueId attention(Builder& b, const std::string& path, ValueId queries, ValueId context, int64_t out,
                  const AttentionOptions& options);

}  // namespace stepd::nn
