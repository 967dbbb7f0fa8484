#include "nn/attention.h"

#include <cmath>

#include "nn/linear.h"

namespace stepd::nn {

ValueId attention(Builder& b, const std::string& path, ValueId queries, ValueId context, int64_t out,
                  const AttentionOptions& options) {
    int64_t inner = options.heads * options.head_dim;
    ValueId q = linear(b, path + ".to_q", queries, inner, options.bias);
    ValueId k = linear(b, path + ".to_k", context, inner, options.bias);
    ValueId v = linear(b, path + ".to_v", context, inner, options.bias);
    ValueId o = b.attention(q, k, v, options.heads, 1 / std::sqrt(double(options.head_dim)), options.key_bias);
    return b.observed(path, linear(b, path + ".to_out.0", o, out));
}

}  // namespace stepd::nn
