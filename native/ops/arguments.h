// Checked access to the arguments of a node while its shape rule runs. Every refusal names the op and its arguments.
#pragma once

#include <string>

#include "graph/graph.h"
#include "ops/op.h"

namespace stepd {

class Arguments {
public:
    // Refuses fewer than `least` or more than `most` arguments (absent ones count).
    Arguments(const Graph& g, const Node& node, size_t least, size_t most);

    bool has(size_t i) const { return i < node_.inputs.size() && node_.inputs[i] != kNone; }
    const Shape& shape(size_t i) const { return at(i).shape; }
    DType dtype(size_t i) const { return at(i).dtype; }
    int64_t dim(size_t i, int d) const;  // negative counts from the end
    size_t rank(size_t i) const { return shape(i).size(); }

    // Each throws Code::invalid when the argument is absent or does not fit.
    void require(bool condition, const std::string& what) const;
    void require_present(size_t i) const;
    void require_floating(size_t i) const;  // f32 or bf16
    void require_dtype(size_t i, DType t) const;
    void require_rank(size_t i, size_t rank) const;
    void require_shape(size_t i, const Shape& expected) const;

    // An integer attribute within [least, most].
    int64_t integer(const std::string& key, int64_t least, int64_t most = int64_t(1) << 40) const;
    // Attribute `dtype` (0 f32, 1 bf16), or the fallback.
    DType dtype_attr(DType fallback) const;

private:
    const Value& at(size_t i) const;

    const Graph& graph_;
    const Node& node_;
};

// Temporary of the given shape and type, as shape rules return them.
inline Value make_value(Shape shape, DType dtype) {
    Value v;
    v.shape = std::move(shape);
    v.dtype = dtype;
    return v;
}

// The shape rule of an elementwise op with `count` arguments of one shape: the result is like the first.
std::vector<Value> infer_elementwise(const Graph& g, const Node& node, size_t count);

// Vector-Jacobian products: refuses a gradient that flows into any output but the first.
void require_first_output_only(const VjpContext& c);

}  // namespace stepd
