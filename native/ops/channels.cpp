// Changes between channels first and channels last.
#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer_to_last(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.require_rank(0, 4);
    const Shape& x = a.shape(0);
    return {make_value({x[0], x[2], x[3], x[1]}, a.dtype(0))};
}

std::vector<Value> infer_to_first(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.require_rank(0, 4);
    const Shape& x = a.shape(0);
    return {make_value({x[0], x[3], x[1], x[2]}, a.dtype(0))};
}

}  // namespace

extern const Op nchw_to_nhwc{.name = "nchw_to_nhwc", .infer = infer_to_last};
extern const Op nhwc_to_nchw{.name = "nhwc_to_nchw", .infer = infer_to_first};

}  // namespace stepd::ops
