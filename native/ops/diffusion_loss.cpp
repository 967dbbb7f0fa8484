#include "graph/builder.h"
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

// pred and target of one shape, weight[B], c[B], starting at argument `first`.
void require_loss(const Arguments& a, size_t first) {
    a.require_floating(first);
    a.require(a.rank(first) >= 1, "pred needs a batch dimension");
    a.require_dtype(first + 1, DType::f32);
    a.require_shape(first + 1, a.shape(first));
    for (size_t i = first + 2; i < first + 4; ++i) {
        a.require_dtype(i, DType::f32);
        a.require_shape(i, {a.dim(first, 0)});
    }
    a.integer("kind", 0, 2);
}

std::vector<Value> infer_diffusion_loss(const Graph& g, const Node& n) {
    Arguments a(g, n, 4, 4);
    require_loss(a, 0);
    return {make_value({1}, DType::f32), make_value({a.dim(0, 0)}, DType::f32)};
}

std::vector<Value> infer_diffusion_loss_bwd(const Graph& g, const Node& n) {
    Arguments a(g, n, 5, 5);
    require_loss(a, 1);
    a.require_dtype(0, DType::f32);
    a.require_shape(0, {1});
    return {make_value(a.shape(1), a.dtype(1))};
}

Cost cost(const Graph& g, const Node& n) {
    Cost c = traffic(g, n);
    c.flop = 4 * double(numel(g.value(n.inputs[1]).shape));
    return c;
}

void vjp_diffusion_loss(VjpContext& c) {
    require_first_output_only(c);
    const Node& n = c.node;
    for (int i = 1; i < 4; ++i) {
        STEPD_REQUIRE(!c.needs(i), Code::unsupported, "diffusion_loss: only the prediction can be differentiated");
    }
    c.grad_inputs[0] = c.builder.op("diffusion_loss_bwd",
                                    {c.grad_outputs[0], n.inputs[0], n.inputs[1], n.inputs[2], n.inputs[3]}, n.attrs);
}

}  // namespace

extern const Op diffusion_loss{
    .name = "diffusion_loss", .infer = infer_diffusion_loss, .vjp = vjp_diffusion_loss, .cost = cost};
extern const Op diffusion_loss_bwd{.name = "diffusion_loss_bwd", .infer = infer_diffusion_loss_bwd, .cost = cost};

}  // namespace stepd::ops
