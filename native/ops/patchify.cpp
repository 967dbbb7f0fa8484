// patchify and unpatchify are each other's inverse and each other's gradient.
#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_patchify(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.require_rank(0, 4);
    int64_t patch = a.integer("patch", 1);
    a.integer("channel_last", 0, 1);
    const Shape& x = a.shape(0);
    a.require(x[2] % patch == 0 && x[3] % patch == 0, detail::concat("height and width must be multiples of ", patch));
    return {make_value({x[0], (x[2] / patch) * (x[3] / patch), x[1] * patch * patch}, a.dtype(0))};
}

std::vector<Value> infer_unpatchify(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.require_rank(0, 3);
    int64_t patch = a.integer("patch", 1), height = a.integer("height", 1), width = a.integer("width", 1);
    a.integer("channel_last", 0, 1);
    const Shape& x = a.shape(0);
    a.require(height % patch == 0 && width % patch == 0 && (height / patch) * (width / patch) == x[1],
              detail::concat("tokens do not cover ", height, "x", width, " in patches of ", patch));
    a.require(x[2] % (patch * patch) == 0, detail::concat("features are not a multiple of ", patch * patch));
    return {make_value({x[0], x[2] / (patch * patch), height, width}, a.dtype(0))};
}

void vjp_patchify(VjpContext& c) {
    const Shape& x = c.builder.shape(c.node.inputs[0]);
    Attrs attrs = c.node.attrs;
    attrs["height"] = double(x[2]);
    attrs["width"] = double(x[3]);
    c.grad_inputs[0] = c.builder.op("unpatchify", {c.grad_outputs[0]}, attrs);
}

void vjp_unpatchify(VjpContext& c) {
    c.grad_inputs[0] = c.builder.op("patchify", {c.grad_outputs[0]},
                                    {{"patch", c.node.attr("patch")}, {"channel_last", c.node.attr("channel_last")}});
}

}  // namespace

extern const Op patchify{.name = "patchify", .infer = infer_patchify, .vjp = vjp_patchify};
extern const Op unpatchify{.name = "unpatchify", .infer = infer_unpatchify, .vjp = vjp_unpatchify};

}  // namespace stepd::ops
