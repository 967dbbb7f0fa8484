#include "ops/op.h"

#include <unordered_map>

namespace stepd {

namespace ops {
#define STEPD_OP(name) extern const Op name;
#include "ops/ops.inc"
#undef STEPD_OP
}  // namespace ops

namespace {
const Op* const table[] = {
#define STEPD_OP(name) &ops::name,
#include "ops/ops.inc"
#undef STEPD_OP
};
}  // namespace

std::span<const Op* const> all_ops() { return table; }

const Op* find_op(const std::string& name) {
    static const auto index = [] {
        std::unordered_map<std::string, const Op*> map;
        for (const Op* op : table) map.emplace(op->name, op);
        return map;
    }();
    auto it = index.find(name);
    return it == index.end() ? nullptr : it->second;
}

Cost traffic(const Graph& g, const Node& node) {
    Cost cost;
    auto count = [&](ValueId v) {
        if (v != kNone) cost.bytes += double(numel(g.value(v).shape)) * double(size_of(g.value(v).dtype));
    };
    for (ValueId v : node.inputs) count(v);
    for (ValueId v : node.outputs) count(v);
    return cost;
}

Cost elementwise_cost(const Graph& g, const Node& node) {
    Cost cost = traffic(g, node);
    cost.flop = double(numel(g.value(node.outputs[0]).shape));
    return cost;
}

Cost cost_of(const Graph& g, const Node& node) {
    if (node.op->alias) return {};
    return node.op->cost ? node.op->cost(g, node) : traffic(g, node);
}

}  // namespace stepd
