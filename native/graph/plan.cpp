#include "graph/plan.h"

#include <cstdio>

#include "graph/recompute.h"
#include "graph/storage.h"
#include "ops/op.h"

namespace stepd {

namespace {

void count_values(const Graph& g, PlanReport& report) {
    for (const Value& v : g.values) {
        auto bytes = int64_t(bytes_of(v));
        switch (v.role) {
            case Role::parameter:
                report.parameter_bytes += bytes;
                break;
            case Role::input:
                report.input_bytes += bytes;
                break;
            case Role::output:
                (v.name.starts_with("grad.") ? report.gradient_bytes : report.output_bytes) += bytes;
                break;
            case Role::temporary:
                break;
        }
    }
}

Plan plan_memory(Graph graph) {
    Plan plan;
    plan.graph = std::move(graph);
    const Graph& g = plan.graph;
    plan.storage = share_memory(g);
    plan.offsets.assign(g.values.size(), -1);
    plan.released.resize(g.nodes.size());
    std::vector<Block> blocks = lifetimes(g, plan.storage);
    plan.report.arena_bytes = place(blocks);
    for (const Block& block : blocks) {
        plan.offsets[size_t(block.storage)] = block.offset;
        plan.released[size_t(block.last)].push_back(block.storage);
    }
    for (size_t i = 0; i < g.values.size(); ++i) plan.offsets[i] = plan.offsets[size_t(plan.storage[i])];
    count_values(g, plan.report);
    for (const Node& node : g.nodes) {
        Cost cost = cost_of(g, node);
        plan.report.flop += cost.flop;
        plan.report.bytes += cost.bytes;
    }
    return plan;
}

}  // namespace

Plan make_plan(Graph graph, const PlanOptions& options) {
    graph.renumber();
    Plan plan = plan_memory(graph);
    if (options.arena_budget < 0 || plan.report.arena_bytes <= options.arena_budget) return plan;
    const double flop = plan.report.flop;
    Recompute recompute(graph);
    // The estimate of the peak knows neither in-place results nor gaps between blocks, so the target is corrected by
    // what the real plan needs.
    auto target = double(options.arena_budget);
    for (int attempt = 0; attempt < 8; ++attempt) {
        bool dropped = recompute.reduce_peak(int64_t(target), options.cancellation);
        if (!dropped) break;
        Graph rebuilt = recompute.build();
        auto nodes = int(rebuilt.nodes.size() - graph.nodes.size());
        Plan next = plan_memory(std::move(rebuilt));
        next.report.recomputed_nodes = nodes;
        next.report.recomputed_flop = next.report.flop - flop;
        int64_t bytes = next.report.arena_bytes;
        if (bytes < plan.report.arena_bytes) plan = std::move(next);
        if (bytes <= options.arena_budget) break;
        target *= 0.98 * double(options.arena_budget) / double(bytes);
    }
    return plan;
}

std::string print(const PlanReport& r) {
    auto line = [](const char* what, double number, double unit, const char* unit_name) {
        char text[96];
        snprintf(text, sizeof text, "%-20s %12.3f %s\n", what, number / unit, unit_name);
        return std::string(text);
    };
    constexpr double mib = 1 << 20, giga = 1e9;
    return line("parameters", double(r.parameter_bytes), mib, "MiB") +
           line("gradients", double(r.gradient_bytes), mib, "MiB") + line("inputs", double(r.input_bytes), mib, "MiB") +
           line("outputs", double(r.output_bytes), mib, "MiB") +
           line("activations", double(r.arena_bytes), mib, "MiB") + line("arithmetic", r.flop, giga, "GFLOP") +
           line("recomputed", r.recomputed_flop, giga, "GFLOP") + line("recomputed nodes", r.recomputed_nodes, 1, "") +
           line("memory traffic", r.bytes, mib, "MiB");
}

}  // namespace stepd
