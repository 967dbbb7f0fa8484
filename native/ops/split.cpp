// split and stack are each other's inverse and each other's gradient.
#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_split(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    int64_t axis = a.integer("axis", 0, int64_t(a.rank(0)) - 1);
    int64_t parts = a.integer("parts", 1);
    Shape shape = a.shape(0);
    int64_t extent = shape[size_t(axis)];
    a.require(extent % parts == 0, detail::concat("axis ", axis, " does not divide into ", parts, " parts"));
    if (extent == parts) {
        shape.erase(shape.begin() + axis);
    } else {
        shape[size_t(axis)] = extent / parts;
    }
    return std::vector<Value>(size_t(parts), make_value(shape, a.dtype(0)));
}

std::vector<Value> infer_stack(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 4096);
    size_t first = 0;
    while (first < n.inputs.size() && !a.has(first)) ++first;
    a.require(first < n.inputs.size(), "at least one argument must be there");
    for (size_t i = first; i < n.inputs.size(); ++i) {
        if (!a.has(i)) continue;
        a.require_shape(i, a.shape(first));
        a.require_dtype(i, a.dtype(first));
    }
    bool squeeze = a.integer("squeeze", 0, 1) != 0;
    int64_t axis = a.integer("axis", 0, int64_t(a.rank(first)) - (squeeze ? 0 : 1));
    Shape shape = a.shape(first);
    int64_t parts = int64_t(n.inputs.size());
    if (squeeze) {
        shape.insert(shape.begin() + axis, parts);
    } else {
        shape[size_t(axis)] *= parts;
    }
    return {make_value(shape, a.dtype(first))};
}

void vjp_split(VjpContext& c) {
    bool squeeze = c.builder.shape(c.node.inputs[0]).size() != c.builder.shape(c.node.outputs[0]).size();
    c.grad_inputs[0] = c.builder.op("stack", {c.grad_outputs.begin(), c.grad_outputs.end()},
                                    {{"axis", c.node.attr("axis")}, {"squeeze", squeeze}});
}

void vjp_stack(VjpContext& c) {
    std::vector<ValueId> parts =
        c.builder.split(c.grad_outputs[0], int(c.node.attr("axis")), int(c.node.inputs.size()));
    for (size_t i = 0; i < parts.size(); ++i) {
        if (!c.needs(int(i))) continue;
        // Concatenated extents of one come back from split without their axis.
        c.grad_inputs[i] = c.builder.reshape(parts[i], c.builder.shape(c.node.inputs[i]));
    }
}

}  // namespace

extern const Op split{.name = "split", .infer = infer_split, .vjp = vjp_split};
extern const Op stack{.name = "stack", .infer = infer_stack, .vjp = vjp_stack};

}  // namespace stepd::ops
