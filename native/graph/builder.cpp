#include "graph/builder.h"

#include "ops/op.h"

namespace stepd {

namespace {

// Axes count from the end when negative; kernels see only axes from the front.
double front_axis(const Shape& shape, int axis) {
    int rank = int(shape.size());
    STEPD_REQUIRE(axis >= -rank && axis < rank, Code::invalid, "axis ", axis, " of a value with shape ",
                  to_string(shape));
    return axis < 0 ? axis + rank : axis;
}

Attrs dtype_attr(DType t) { return {{"dtype", t == DType::f32 ? 0 : 1}}; }

}  // namespace

Builder::Builder(Graph& graph, DType compute, Info info) : graph_(graph), compute_(compute), info_(std::move(info)) {}

ValueId Builder::input(const std::string& name, Shape shape, DType dtype) {
    Value v;
    v.shape = std::move(shape);
    v.dtype = dtype;
    v.role = Role::input;
    v.name = name;
    return graph_.add_value(std::move(v));
}

ValueId Builder::output(const std::string& name, ValueId v) {
    STEPD_CHECK(graph_.find(name) == kNone, "the name ", name, " is taken");
    if (graph_.value(v).role != Role::temporary) {  // has memory and a name of its own already
        v = op("cast", {v}, dtype_attr(dtype(v)));
    }
    graph_.value(v).role = Role::output;
    graph_.value(v).name = name;
    return v;
}

ValueId Builder::parameter(const std::string& name, Shape shape) {
    ValueId known = graph_.find(name);
    if (known != kNone) {
        const Value& v = graph_.value(known);
        STEPD_CHECK(v.role == Role::parameter && v.shape == shape, "parameter ", name, " has shape ",
                    to_string(v.shape), " and is asked for as ", to_string(shape));
        return known;
    }
    ParameterInfo info = info_ ? info_(name) : ParameterInfo{};
    Value v;
    v.shape = std::move(shape);
    v.dtype = info.dtype;
    v.role = Role::parameter;
    v.trainable = info.trainable;
    v.name = name;
    return graph_.add_value(std::move(v));
}

ValueId Builder::weight(const std::string& name, Shape shape) {
    ValueId stored = parameter(name, std::move(shape));
    if (dtype(stored) == compute_) return stored;
    auto [it, fresh] = cast_weights_.try_emplace(name, kNone);
    if (fresh) it->second = cast(stored, compute_);
    return it->second;
}

std::vector<ValueId> Builder::ops(const std::string& name, std::vector<ValueId> inputs, Attrs attrs) {
    return graph_.add_node(name, std::move(inputs), std::move(attrs)).outputs;
}

ValueId Builder::op(const std::string& name, std::vector<ValueId> inputs, Attrs attrs) {
    return graph_.add_node(name, std::move(inputs), std::move(attrs)).outputs[0];
}

ValueId Builder::linear(ValueId x, ValueId w, ValueId b) { return op("linear", {x, w, b}); }

ValueId Builder::linear_to(DType to, ValueId x, ValueId w, ValueId b) {
    return op("linear", {x, w, b}, to == dtype(x) ? Attrs{} : dtype_attr(to));
}

ValueId Builder::attention(ValueId q, ValueId k, ValueId v, int heads, double scale, ValueId key_bias, ValueId bias) {
    return op("attention", {q, k, v, key_bias, bias}, {{"heads", heads}, {"scale", scale}});
}

ValueId Builder::cast(ValueId x, DType to) { return dtype(x) == to ? x : op("cast", {x}, dtype_attr(to)); }

ValueId Builder::reshape(ValueId x, Shape to) {
    if (shape(x) == to) return x;
    Attrs attrs;
    for (size_t i = 0; i < to.size(); ++i) attrs[detail::concat("d", i)] = double(to[i]);
    return op("reshape", {x}, std::move(attrs));
}

std::vector<ValueId> Builder::split(ValueId x, int axis, int parts) {
    return ops("split", {x}, {{"axis", front_axis(shape(x), axis)}, {"parts", parts}});
}

ValueId Builder::slice(ValueId x, int axis, int64_t begin, int64_t length) {
    return op("slice", {x},
              {{"axis", front_axis(shape(x), axis)}, {"begin", double(begin)}, {"length", double(length)}});
}

ValueId Builder::norm_modulate(ValueId x, ValueId scale, ValueId shift, double eps) {
    return op("norm_modulate", {x, scale, shift}, {{"eps", eps}});
}

}  // namespace stepd
