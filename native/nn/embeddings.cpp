#include "nn/embeddings.h"

#include "nn/linear.h"

namespace stepd::nn {

namespace {
constexpr double kSinusoidWidth = 256;  // the same in every family
}

ValueId timestep_embedding(Builder& b, const std::string& path, ValueId timestep, int64_t out) {
    ValueId sinusoid = b.op("timestep_embedding", {timestep}, {{"dim", kSinusoidWidth}});
    ValueId hidden = b.silu(vector_linear(b, path + ".linear_1", sinusoid, out));
    return vector_linear(b, path + ".linear_2", hidden, out);
}

ValueId add_position_table(Builder& b, ValueId tokens, int64_t rows, int64_t columns, int64_t base_size,
                           double interpolation) {
    ValueId table = b.op("position_embedding", {},
                         {{"dim", double(b.shape(tokens).back())},
                          {"height", double(rows)},
                          {"width", double(columns)},
                          {"base_size", double(base_size)},
                          {"interpolation", interpolation}});
    return b.add(tokens, table);
}

}  // namespace stepd::nn
