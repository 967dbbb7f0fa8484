#include <algorithm>
#include <cstdio>
#include <map>

#include "graph/executor.h"
#include "ops/op.h"

namespace stepd {

namespace {

struct Total {
    int nodes = 0;
    double seconds = 0, flop = 0, bytes = 0;

    void add(const NodeTime& t) {
        ++nodes;
        seconds += t.seconds;
        flop += t.flop;
        bytes += t.bytes;
    }
};

std::string line(const std::string& name, const Total& t, double all_seconds) {
    double seconds = std::max(t.seconds, 1e-12);
    char text[160];
    snprintf(text, sizeof text, "%-32s %6d %12.3f ms %5.1f %% %10.1f GFLOP/s %8.1f GB/s\n", name.c_str(), t.nodes,
             t.seconds * 1e3, 100 * t.seconds / std::max(all_seconds, 1e-12), t.flop / seconds * 1e-9,
             t.bytes / seconds * 1e-9);
    return text;
}

}  // namespace

std::string print_profile(const Plan& plan, const std::vector<NodeTime>& times) {
    std::map<std::string, Total> by_op;
    Total all;
    for (const NodeTime& t : times) {
        const Node& node = plan.graph.nodes[size_t(t.node)];
        by_op[detail::concat(node.backward ? "backward " : "forward ", node.op->name)].add(t);
        all.add(t);
    }
    std::vector<std::pair<std::string, Total>> rows(by_op.begin(), by_op.end());
    std::stable_sort(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.second.seconds > b.second.seconds; });
    std::string text;
    for (const auto& [name, total] : rows) text += line(name, total, all.seconds);
    return text + line("total", all, all.seconds);
}

}  // namespace stepd
