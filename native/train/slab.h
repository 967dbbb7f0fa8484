// Many tensors in one allocation.
#pragma once

#include <cstdint>
#include <vector>

#include "base/tensor.h"
#include "graph/executor.h"

namespace stepd {

struct TensorSpec {
    Shape shape;
    DType dtype = DType::f32;
};

class Slab {
public:
    static constexpr int64_t kAlignment = 64;
    // What the constructor allocates.
    static int64_t bytes(const std::vector<TensorSpec>& specs);

    Slab() = default;
    // Zeroed. Throws Code::out_of_memory with the size.
    explicit Slab(const std::vector<TensorSpec>& specs);

    size_t size() const { return tensors_.size(); }
    const Tensor& operator[](size_t i) const { return tensors_.at(i); }

private:
    Buffer memory_;
    std::vector<Tensor> tensors_;
};

}  // namespace stepd
