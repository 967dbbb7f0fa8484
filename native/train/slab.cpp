#include "train/slab.h"

namespace stepd {
namespace {
int64_t padded_bytes(const TensorSpec& spec) {
    const int64_t bytes = numel(spec.shape) * int64_t(size_of(spec.dtype));
    return (bytes + Slab::kAlignment - 1) / Slab::kAlignment * Slab::kAlignment;
}
}  // namespace

int64_t Slab::bytes(const std::vector<TensorSpec>& specs) {
    int64_t total = 0;
    for (const TensorSpec& spec : specs) total += padded_bytes(spec);
    return total;
}

Slab::Slab(const std::vector<TensorSpec>& specs) : memory_(size_t(bytes(specs))) {
    char* at = static_cast<char*>(memory_.data());
    for (const TensorSpec& spec : specs) {
        tensors_.push_back({at, spec.dtype, spec.shape});
        at += padded_bytes(spec);
    }
}

}  // namespace stepd
