#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

// Checks q[B,S,H*d], k and v[B,N,H*d], key_bias[B,N]?; returns the number of heads.
int64_t require_attention(const Arguments& a) {
    for (size_t i = 0; i < 3; ++i) {
        a.require_floating(i);
        a.require_rank(i, 3);
    }
    a.require_shape(2, a.shape(1));
    a.require(a.dim(0, 0) == a.dim(1, 0) && a.dim(0, 2) == a.dim(1, 2), "q and k differ in batch or width");
    int64_t heads = a.integer("heads", 1);
    a.require(a.dim(0, 2) % heads == 0,
              detail::concat("width ", a.dim(0, 2), " is not a multiple of ", heads, " heads"));
    if (a.has(3)) {
        a.require_dtype(3, DType::f32);
        a.require_shape(3, {a.dim(1, 0), a.dim(1, 1)});
    }
    return heads;
}

std::vector<Value> infer_attention(const Graph& g, const Node& n) {
    Arguments a(g, n, 3, 5);
    int64_t heads = require_attention(a);
    n.attr("scale");
    if (a.has(4)) {
        a.require_dtype(4, DType::f32);
        a.require_shape(4, {heads, a.dim(0, 1), a.dim(1, 1)});
    }
    return {make_value(a.shape(0), a.dtype(0)), make_value({a.dim(0, 0), heads, a.dim(0, 1)}, DType::f32)};
}

std::vector<Value> infer_attention_bwd(const Graph& g, const Node& n) {
    Arguments a(g, n, 7, 7);
    int64_t heads = require_attention(a);
    n.attr("scale");
    a.require_shape(4, a.shape(0));
    a.require_dtype(5, DType::f32);
    a.require_shape(5, {a.dim(0, 0), heads, a.dim(0, 1)});
    a.require_floating(6);
    a.require_shape(6, a.shape(0));
    return {make_value(a.shape(0), a.dtype(0)), make_value(a.shape(1), a.dtype(1)), make_value(a.shape(2), a.dtype(2))};
}

// `products`: matrix products of [S,d] x [d,N] size; the softmax is counted with 5 FLOP a score.
Cost attention_cost(const Graph& g, const Node& n, double products) {
    const Shape& q = g.value(n.inputs[0]).shape;
    double scores = double(q[0]) * double(q[1]) * double(g.value(n.inputs[1]).shape[1]);
    Cost cost = traffic(g, n);
    cost.flop = scores * (2 * products * double(q[2]) + 5 * n.attr("heads"));
    return cost;
}
Cost cost_attention(const Graph& g, const Node& n) { return attention_cost(g, n, 2); }
Cost cost_attention_bwd(const Graph& g, const Node& n) { return attention_cost(g, n, 5); }

void vjp_attention(VjpContext& c) {
    require_first_output_only(c);
    std::vector<ValueId> in = c.node.inputs;
    in.resize(5, kNone);
    for (size_t i = 3; i < c.node.inputs.size(); ++i) {
        STEPD_REQUIRE(in[i] == kNone || !c.needs(int(i)), Code::unsupported, "attention: the gradient with respect to ",
                      i == 3 ? "key_bias" : "bias", " is not defined");
    }
    STEPD_REQUIRE(in[4] == kNone, Code::unsupported, "attention: a score bias [H,S,N] cannot be used in training");
    std::vector<ValueId> d = c.builder.ops(
        "attention_bwd", {in[0], in[1], in[2], in[3], c.node.outputs[0], c.node.outputs[1], c.grad_outputs[0]},
        {{"heads", c.node.attr("heads")}, {"scale", c.node.attr("scale")}});
    for (size_t i = 0; i < 3; ++i) c.grad_inputs[i] = d[i];
}

}  // namespace

extern const Op attention{.name = "attention", .infer = infer_attention, .vjp = vjp_attention, .cost = cost_attention};
extern const Op attention_bwd{.name = "attention_bwd", .infer = infer_attention_bwd, .cost = cost_attention_bwd};

}  // namespace stepd::ops
