#include "nn/mlp.h"

#include "nn/linear.h"

namespace stepd::nn {

ValueId feed_forward(Builder& b, const std::string& path, ValueId x, int64_t hidden) {
    int64_t width = b.shape(x).back();
    ValueId y = linear(b, path + ".net.2", b.gelu(linear(b, path + ".net.0.proj", x, hidden)), width);
    return b.observed(path, y);
}

ValueId text_projection(Builder& b, const std::string& path, ValueId x, int64_t out) {
    return linear(b, path + ".linear_2", b.gelu(linear(b, path + ".linear_1", x, out)), out);
}

}  // namespace stepd::nn
