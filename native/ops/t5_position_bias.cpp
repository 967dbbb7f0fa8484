#include "ops/arguments.h"

namespace stepd::ops {

namespace {

std::vector<Value> infer(const Graph& g, const Node& n) {
    Arguments a(g, n, 1, 1);
    a.require_floating(0);
    a.require_rank(0, 2);
    int64_t length = a.integer("length", 1);
    a.integer("max_distance", 1);
    return {make_value({a.dim(0, 1), length, length}, DType::f32)};
}

}  // namespace

extern const Op t5_position_bias{.name = "t5_position_bias", .infer = infer};

}  // namespace stepd::ops
