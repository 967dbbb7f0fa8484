// Records a forward computation. One method per op of ops/ops.inc that model code uses; shapes are in that list.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace stepd {

class Adapter;

struct ParameterInfo {
    DType dtype = DType::f32;  // how the weight is stored
    bool trainable = false;
};

class Builder {
public:
    // compute: dtype of activations. info decides storage and training of each parameter by its name.
    using Info = std::function<ParameterInfo(const std::string& name)>;
    Builder(Graph& graph, DType compute, Info info = {});

    Graph& graph() { return graph_; }
    DType compute() const { return compute_; }
    const Shape& shape(ValueId v) const { return graph_.value(v).shape; }
    DType dtype(ValueId v) const { return graph_.value(v).dtype; }

    // The adapter that nn::linear applies to each module it names; null for none. Not owned.
    const Adapter* adapter = nullptr;

    // Told the output of every module that model code names, for tests and profiles; may be empty.
    std::function<void(const std::string& module, ValueId output)> observe;
    // Reports v as the output of `module`; returns v.
    ValueId observed(const std::string& module, ValueId v) {
        if (observe) observe(module, v);
        return v;
    }

    ValueId input(const std::string& name, Shape shape, DType dtype);
    ValueId output(const std::string& name, ValueId v);  // marks v as an output; returns v
    // The stored weight. The same name returns the same value; a different shape is Code::internal.
    ValueId parameter(const std::string& name, Shape shape);
    // As parameter(), cast to the compute dtype when it is stored in another one.
    ValueId weight(const std::string& name, Shape shape);

    // Appends any op; the single-output form returns its first output.
    ValueId op(const std::string& name, std::vector<ValueId> inputs, Attrs attrs = {});
    std::vector<ValueId> ops(const std::string& name, std::vector<ValueId> inputs, Attrs attrs = {});

    // dtype of the result: of x unless `to` is given.
    ValueId linear(ValueId x, ValueId w, ValueId b = kNone);
    ValueId linear_to(DType to, ValueId x, ValueId w, ValueId b = kNone);
    ValueId attention(ValueId q, ValueId k, ValueId v, int heads, double scale, ValueId key_bias = kNone,
                      ValueId bias = kNone);
    ValueId add(ValueId a, ValueId b) { return op("add", {a, b}); }
    ValueId mul(ValueId a, ValueId b) { return op("mul", {a, b}); }
    ValueId scale(ValueId x, double alpha) { return op("scale", {x}, {{"alpha", alpha}}); }
    ValueId gelu(ValueId x) { return op("gelu", {x}); }
    ValueId silu(ValueId x) { return op("silu", {x}); }
    ValueId cast(ValueId x, DType to);  // x itself when it has that dtype already
    ValueId reshape(ValueId x, Shape shape);
    std::vector<ValueId> split(ValueId x, int axis, int parts);
    ValueId slice(ValueId x, int axis, int64_t begin, int64_t length);
    ValueId norm_modulate(ValueId x, ValueId scale, ValueId shift, double eps);
    ValueId gate_residual(ValueId x, ValueId gate, ValueId y) { return op("gate_residual", {x, gate, y}); }

private:
    Graph& graph_;
    DType compute_;
    Info info_;
    std::map<std::string, ValueId> cast_weights_;
};

}  // namespace stepd
