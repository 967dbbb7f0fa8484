#include "ops/arguments.h"

#include <cmath>

namespace stepd {

namespace {

std::string describe(const Graph& g, const Node& node) {
    std::string text = std::string(node.op->name) + "(";
    for (size_t i = 0; i < node.inputs.size(); ++i) {
        if (i) text += ", ";
        if (node.inputs[i] == kNone) {
            text += "-";
            continue;
        }
        const Value& v = g.value(node.inputs[i]);
        if (!v.name.empty()) text += v.name + " ";
        text += std::string(name_of(v.dtype)) + to_string(v.shape);
    }
    return text + ")";
}

}  // namespace

Arguments::Arguments(const Graph& g, const Node& node, size_t least, size_t most) : graph_(g), node_(node) {
    require(node.inputs.size() >= least && node.inputs.size() <= most,
            detail::concat("takes ", least, least == most ? "" : detail::concat(" to ", most), " arguments, got ",
                           node.inputs.size()));
}

const Value& Arguments::at(size_t i) const {
    require_present(i);
    return graph_.value(node_.inputs[i]);
}

int64_t Arguments::dim(size_t i, int d) const {
    const Shape& s = shape(i);
    int64_t index = d < 0 ? d + int64_t(s.size()) : d;
    require(index >= 0 && index < int64_t(s.size()), detail::concat("argument ", i, " has too few dimensions"));
    return s[size_t(index)];
}

void Arguments::require(bool condition, const std::string& what) const {
    STEPD_REQUIRE(condition, Code::invalid, describe(graph_, node_), ": ", what);
}

void Arguments::require_present(size_t i) const { require(has(i), detail::concat("argument ", i, " is missing")); }

void Arguments::require_floating(size_t i) const {
    require(dtype(i) != DType::i32, detail::concat("argument ", i, " must be f32 or bf16"));
}

void Arguments::require_dtype(size_t i, DType t) const {
    require(dtype(i) == t, detail::concat("argument ", i, " must be ", name_of(t)));
}

void Arguments::require_rank(size_t i, size_t expected) const {
    require(rank(i) == expected, detail::concat("argument ", i, " must have ", expected, " dimensions"));
}

void Arguments::require_shape(size_t i, const Shape& expected) const {
    require(shape(i) == expected, detail::concat("argument ", i, " must have shape ", to_string(expected)));
}

int64_t Arguments::integer(const std::string& key, int64_t least, int64_t most) const {
    auto it = node_.attrs.find(key);
    require(it != node_.attrs.end(), "attribute " + key + " is missing");
    require(it->second == std::floor(it->second) && it->second >= double(least) && it->second <= double(most),
            detail::concat("attribute ", key, " = ", it->second, " is not an integer in [", least, ", ", most, "]"));
    return int64_t(it->second);
}

DType Arguments::dtype_attr(DType fallback) const {
    if (!node_.attrs.count("dtype")) return fallback;
    return integer("dtype", 0, 1) == 0 ? DType::f32 : DType::bf16;
}

std::vector<Value> infer_elementwise(const Graph& g, const Node& node, size_t count) {
    Arguments a(g, node, count, count);
    for (size_t i = 0; i < count; ++i) {
        a.require_floating(i);
        a.require_shape(i, a.shape(0));
    }
    return {make_value(a.shape(0), a.dtype(0))};
}

void require_first_output_only(const VjpContext& c) {
    for (size_t i = 1; i < c.grad_outputs.size(); ++i) {
        STEPD_REQUIRE(c.grad_outputs[i] == kNone, Code::unsupported, "the gradient of ", c.node.op->name,
                      " with respect to its output ", i, " is not defined");
    }
}

}  // namespace stepd
